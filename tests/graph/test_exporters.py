"""Whole way on what real exporters write: read, prepare, convert, compare, and a student grafted on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto
from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.graph.check import check_parity
from cake_onnx.graph.convert import convert
from cake_onnx.graph.export import check_export, export_student
from cake_onnx.graph.inspect import traits
from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.signature import read_signature


class SmallTransformer(nn.Module):
    """Patches, a class token, one block of attention: every shape operation that exporters are fond of."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], dim=1)
        split = self.qkv(self.norm(tokens)).reshape(x.shape[0], -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)
        mixed = functional.gelu((query @ key.transpose(-2, -1) / 2).softmax(-1) @ value)
        joined = tokens + mixed.transpose(1, 2).reshape(x.shape[0], -1, 8)
        logits: Tensor = self.head(joined[:, 0])
        return logits


class SmallResNet(nn.Module):
    """Batch normalisation, a shortcut, ceil-mode pooling and a global mean, ending in a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.second = nn.Sequential(nn.BatchNorm2d(6), nn.SiLU(), nn.Conv2d(6, 6, 3, padding=1))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.pool(self.first(x))
        hidden = hidden + self.second(hidden)
        return torch.softmax(
            self.head(functional.dropout(hidden.mean(dim=(2, 3)), 0.5, self.training)), dim=1
        )


def _by_torchscript(module: nn.Module, folder: Path) -> ModelProto:
    path = folder / "exported.onnx"
    axes = {"image": {0: "batch"}, "scores": {0: "batch"}}
    torch.onnx.export(
        module,
        (torch.randn(2, 1, 8, 8),),
        path,
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        output_names=["scores"],
        dynamic_axes=axes,
    )
    return onnx.load(path)


def _by_dynamo(module: nn.Module, folder: Path) -> ModelProto:
    program = torch.onnx.export(
        module,
        (torch.randn(2, 1, 8, 8),),
        dynamo=True,
        verbose=False,
        opset_version=20,
        input_names=["image"],
        output_names=["scores"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    assert program is not None
    return program.model_proto


@pytest.mark.parametrize("architecture", [SmallTransformer, SmallResNet])
@pytest.mark.parametrize("exporter", [_by_torchscript, _by_dynamo])
def test_torch(
    architecture: Callable[[], nn.Module], exporter: Callable[[nn.Module, Path], ModelProto], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = architecture()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = exporter(module.eval(), tmp_path)
    _whole_way(model)
    spec, output = read_signature(model)
    x = torch.rand(5, 1, 8, 8)
    found = convert(prepare(model, spec, output), spec)(x)
    wanted = module(x) if architecture is SmallTransformer else module(x).log()
    torch.testing.assert_close(found.log_softmax(1), wanted.log_softmax(1), rtol=1e-4, atol=1e-4)
    assert ("attention" in traits(model)) is (architecture is SmallTransformer)


def test_scikit_learn_network_on_digits() -> None:
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_digits(return_X_y=True)
    network = MLPClassifier((16,), max_iter=10, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = make_pipeline(StandardScaler(), network).fit(x, y)
    model = to_onnx(fitted, x[:1].astype(np.float32), target_opset={"": 17, "ai.onnx.ml": 3})
    _whole_way(model)
    spec, output = read_signature(model)
    found = convert(prepare(model, spec, output), spec)(torch.from_numpy(x[:50].astype(np.float32)))
    np.testing.assert_allclose(found.softmax(1).numpy(), fitted.predict_proba(x[:50]), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("solver", ["binary", "one against the rest"])
def test_other_linear_models_of_scikit_learn(solver: str) -> None:
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression, SGDClassifier

    x, y = load_iris(return_X_y=True)
    if solver == "binary":
        fitted = LogisticRegression().fit(x[:100], y[:100])
    else:
        fitted = SGDClassifier(loss="log_loss", random_state=0).fit(x, y)
    options = {type(fitted): {"zipmap": False}}
    model = to_onnx(fitted, x[:1].astype(np.float32), target_opset={"": 17, "ai.onnx.ml": 3}, options=options)
    _whole_way(model)
    spec, output = read_signature(model)
    found = convert(prepare(model, spec, output), spec)(torch.from_numpy(x.astype(np.float32)))
    np.testing.assert_allclose(found.softmax(1).numpy(), fitted.predict_proba(x), rtol=1e-3, atol=1e-4)


def _whole_way(model: ModelProto) -> None:
    spec, output = read_signature(model)
    prepared = prepare(model, spec, output)
    session = open_session(model.SerializeToString())
    check_parity(convert(prepared, spec), session, spec, output, prepared, seed=0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(spec.shape)), output.classes))
    data = export_student(student, model, prepared, spec, output, {})
    check_export(student, data, prepared, spec, output)
