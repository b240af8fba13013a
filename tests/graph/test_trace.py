from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from onnx import ModelProto
from torch import Tensor, nn

from cake_onnx.graph import trace as tracing
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.trace import Trace, trace

MODELS = ["linear", "softmax_net", "fixed_cnn", "multi_sklearn", "quantised_net"]


def _trace(model: ModelProto) -> Trace:
    input, output = read_signature(model)
    return trace(prepare(model, input, output), input)


@contextmanager
def _broken(monkeypatch: pytest.MonkeyPatch, op: str, change: Callable[[Tensor], object]) -> Iterator[None]:
    """Conversions in which every module of an operator gives something else."""

    def convert(body: ModelProto) -> nn.Module:
        module = convert_graph(body)
        for name, part in module.named_children():
            if name.endswith(op):
                part.register_forward_hook(lambda _, inputs, output: change(output))
        return module

    with monkeypatch.context() as patch:
        patch.setattr(tracing, "convert_graph", convert)
        yield


@pytest.mark.parametrize("name", MODELS)
def test_right_conversions_agree_everywhere(name: str, request: pytest.FixtureRequest) -> None:
    found = _trace(request.getfixturevalue(name))
    assert found.first is None
    assert found.nodes >= 1
    assert found.samples == 6
    assert found.largest < 1e-4


def test_the_first_node_that_differs_is_named(
    softmax_net: ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _broken(monkeypatch, "Relu", lambda y: y + 0.5):
        found = _trace(softmax_net)
    assert found.first is not None
    assert found.first.operator == "Relu-14"
    assert found.first.wanted_shape == (1, 8)
    assert found.first.difference == pytest.approx(0.5)
    assert "Relu-14" in str(found.first)
    assert "off by 0.5" in str(found.first)


def test_a_wrong_shape_is_a_difference(softmax_net: ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    with _broken(monkeypatch, "Relu", lambda y: y[:, :4]):
        found = _trace(softmax_net)
    assert found.first is not None
    assert found.first.found_shape == (1, 4)
    assert "shape [1, 4] for [1, 8]" in str(found.first)


def test_a_node_that_crashes_is_named(softmax_net: ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(y: Tensor) -> object:
        raise RuntimeError("shapes do not fit")

    with _broken(monkeypatch, "Relu", crash):
        found = _trace(softmax_net)
    assert found.first is not None
    assert found.first.operator == "Relu-14"
    assert "does not run, RuntimeError: shapes do not fit" in str(found.first)


def test_what_shows_only_for_odd_inputs_is_found(
    softmax_net: ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _broken(monkeypatch, "Relu", lambda y: y.clamp_max(6.0)):
        found = _trace(softmax_net)
    assert found.first is not None
    assert found.first.operator == "Relu-14"


def test_roundings_of_a_quantised_graph_may_fall_otherwise(
    quantised_net: ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _broken(monkeypatch, "QuantizeLinear", lambda y: y + 3):
        found = _trace(quantised_net)
    assert found.first is not None
    assert found.first.operator.startswith("QuantizeLinear")


def test_nodes_without_a_name_are_told_by_their_output(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnx import parser

    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[B, 3] x) => (float[B, 3] y) '
        "{ hidden = Relu(x)\n y = Neg(hidden) }"
    )
    with _broken(monkeypatch, "Relu", lambda y: -y):
        found = _trace(model)
    assert found.first is not None
    assert found.first.node
    assert np.isfinite(found.first.difference)
