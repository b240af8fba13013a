"""Small networks with every way in which channels hang together."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import replace

import onnx
import pytest
import torch
from onnx import ModelProto
from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.graph.batch_constants import store_batch_constants
from cake_onnx.graph.prepare import Prepared, prepare
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.specs import InputSpec

Prepare = Callable[[nn.Module], tuple[Prepared, InputSpec]]


class Residual(nn.Module):
    """A stem, a block with a shortcut that keeps its width, one that widens, a global mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.a, self.b = nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 8, 3, padding=1)
        self.c, self.short = nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(8, 16, 1, 2)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.b(self.a(x).relu())).relu()
        x = (self.c(x) + self.short(x)).relu()
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Depthwise(nn.Module):
    """Expansion, depthwise convolution, squeeze and excite, projection, flattening."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depth = nn.Conv2d(1, 12, 1), nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.squeeze, self.excite = nn.Conv2d(12, 6, 1), nn.Conv2d(6, 12, 1)
        self.project = nn.Conv2d(12, 6, 1)
        self.head = nn.Sequential(nn.Linear(6 * 16, 10), nn.ReLU(), nn.Linear(10, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.depth(self.expand(x)).relu(), 2)
        x = x * self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        logits: Tensor = self.head(self.project(x).flatten(1))
        return logits


class Shuffled(nn.Module):
    """Grouped convolutions with a channel shuffle between them, channels split and joined."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 12, 3, padding=1)
        self.grouped = nn.Conv2d(12, 12, 3, padding=1, groups=2)
        self.side = nn.Conv2d(6, 6, 1)
        self.last = nn.Conv2d(12, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(self.first(x).relu()).relu()
        x = x.reshape(-1, 2, 6, 8, 8).transpose(1, 2).reshape(-1, 12, 8, 8)
        left, right = x.chunk(2, dim=1)
        x = self.last(torch.cat([left, self.side(right).relu()], dim=1)).relu()
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Attention(nn.Module):
    """Patches, a class token, positions, one block of attention in two heads, a GELU network behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.position = nn.Parameter(torch.randn(1, 5, 8))
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], dim=1) + self.position
        query, key, value = self.qkv(x).reshape(-1, 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = (query @ key.transpose(-2, -1) / 2).softmax(-1) @ value
        x = x + self.out(mixed.transpose(1, 2).reshape(-1, 5, 8))
        x = x + self.down(functional.gelu(self.up(x)))
        logits: Tensor = self.head(x[:, 0])
        return logits


class Recurrent(nn.Module):
    """Rows as a sequence: an LSTM in both directions, a GRU and a plain network on top, the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.LSTM(8, 6, bidirectional=True, batch_first=True)
        self.gated = nn.GRU(12, 5, batch_first=True)
        self.plain = nn.RNN(5, 7, batch_first=True, bias=False)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.plain(self.gated(self.both(x[:, 0])[0])[0])[0]
        logits: Tensor = self.head(rows[:, -1])
        return logits


class Token(nn.Module):
    """A class token that is added to zeros of the size of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(1, 8, 4, 4), nn.Parameter(torch.randn(8))
        self.mix, self.head = nn.Linear(8, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.zeros(x.shape[0], 1, 8) + self.token
        mixed = self.mix(torch.cat([tokens, patches], dim=1)).relu()
        logits: Tensor = self.head(mixed.mean(1))
        return logits


NETWORKS = (Residual, Depthwise, Shuffled, Attention, Recurrent, Token)


@pytest.fixture(params=NETWORKS, ids=lambda network: network.__name__)
def network(request: pytest.FixtureRequest, prepared: Prepare) -> tuple[Prepared, InputSpec]:
    """Each of the networks, prepared as for a student."""
    ready, input = prepared(request.param())
    return replace(ready, body=store_batch_constants(ready.body, input)), input


@pytest.fixture
def prepared() -> Prepare:
    """`prepared(module)`: a network of 8 by 8 grey images as an exported and prepared teacher."""

    def export(module: nn.Module) -> tuple[Prepared, InputSpec]:
        torch.manual_seed(0)
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer meets sizes of recurrent layers
            torch.onnx.export(
                module.eval(),
                (torch.randn(2, 1, 8, 8),),
                file,  # type: ignore[arg-type]  # torch takes any binary file
                dynamo=False,
                opset_version=17,
                input_names=["x"],
                output_names=["y"],
                dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
            )
        model: ModelProto = onnx.load_model_from_string(file.getvalue())
        input, output = read_signature(model)
        return prepare(model, input, output), input

    return export
