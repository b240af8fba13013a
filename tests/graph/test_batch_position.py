"""Networks exported for one sample that merge it with windows, rows or heads."""

from __future__ import annotations

import io

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto
from torch import Tensor, nn

from cake_onnx.graph.batch import free_batch
from cake_onnx.graph.batch_position import follow_batch
from cake_onnx.graph.normalise import normalise
from cake_onnx.graph.runtime import open_session


class Tokens(nn.Module):
    """A class token, and attention that puts the samples second."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.qkv, self.out, self.head = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token, self.patch(x).flatten(2).transpose(1, 2)], dim=1).transpose(0, 1)
        packed = self.qkv(x).reshape(5, 1, 3, 8).unsqueeze(0).transpose(0, -2).squeeze(-2)
        query, key, value = (part.reshape(5, 2, 4).transpose(0, 1) for part in packed.unbind(0))
        mixed = (query @ key.transpose(1, 2)).softmax(-1) @ value
        rows = mixed.transpose(0, 1).reshape(5, 8)
        logits: Tensor = self.head((x + self.out(rows).reshape(5, 1, 8))[0])
        return logits


class Windows(nn.Module):
    """Windows of an image side by side with the samples, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, x.square(), x.abs(), -x], dim=1).permute(0, 2, 3, 1)
        x = x.reshape(1, 2, 4, 2, 4, 4).permute(0, 1, 3, 2, 4, 5).reshape(4, 16, 4)
        x = self.inner(x).softmax(1)
        x = x.reshape(1, 2, 2, 4, 4, 4).permute(0, 1, 3, 2, 4, 5).reshape(1, 8, 8, 4)
        logits: Tensor = self.head(x.amax((1, 2)))
        return logits


def export(module: nn.Module) -> ModelProto:
    torch.manual_seed(0)
    file = io.BytesIO()
    torch.onnx.export(module.eval(), (torch.randn(1, 1, 8, 8),), file, dynamo=False, opset_version=17)  # type: ignore[arg-type]  # torch takes any binary file
    return normalise(onnx.load_model_from_string(file.getvalue()))


@pytest.mark.parametrize("network", [Tokens, Windows])
def test_many_samples_give_what_each_gives_alone(network: type[nn.Module]) -> None:
    tied = export(network())
    x = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32)
    name = tied.graph.input[0].name
    alone = open_session(tied.SerializeToString())
    wanted = np.concatenate([alone.run(None, {name: x[i : i + 1]})[0] for i in range(4)])
    found = open_session(free_batch(tied).SerializeToString()).run(None, {name: x})[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_windows_and_samples_share_an_axis() -> None:
    tied = export(Windows())
    places, sizes = follow_batch(tied)
    merged = [name for name, known in sizes.items() if known == [4, 16, 4]]
    assert merged
    assert {places[name] for name in merged} == {0}
