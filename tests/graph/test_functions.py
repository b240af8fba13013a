from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.graph.functions import expand_functions
from cake_onnx.graph.operators import registry
from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.shapes import infer_shapes
from cake_onnx.graph.signature import read_signature

Parse = Callable[..., ModelProto]


@pytest.fixture
def normalised_net(parse: Parse, draw: Callable[..., Any]) -> ModelProto:
    return parse(
        """g (float[B, 4] x) => (float[B, 3] y) {
             n = MeanVarianceNormalization<axes = [1]>(x)
             y = MatMul(n, w)
        }""",
        w=draw(4, 3),
    )


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the registry not know an operator."""

    def forget(op_type: str) -> None:
        known = registry.has_converter
        monkeypatch.setattr(
            registry,
            "has_converter",
            lambda domain, op, version: op != op_type and known(domain, op, version),
        )

    return forget


def test_an_operator_with_a_body_and_no_converter_is_spelled_out(
    normalised_net: ModelProto, draw: Callable[..., Any], without: Callable[[str], None]
) -> None:
    without("MeanVarianceNormalization")
    expanded = expand_functions(infer_shapes(normalised_net))
    kinds = {node.op_type for node in expanded.graph.node}
    assert "MeanVarianceNormalization" not in kinds
    assert "ReduceMean" in kinds
    x = draw(3, 4)
    wanted, found = (
        open_session(model.SerializeToString()).run(None, {"x": x})[0] for model in (normalised_net, expanded)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_bodies_that_depend_on_types_find_those_of_weights(
    parse: Parse, draw: Callable[..., Any], without: Callable[[str], None]
) -> None:
    without("LayerNormalization")
    model = parse(
        """g (float[B, 4] x) => (float[B, 4] y) { y = LayerNormalization(x, w, b) }""", w=draw(4), b=draw(4)
    )
    kinds = {node.op_type for node in expand_functions(infer_shapes(model)).graph.node}
    assert "LayerNormalization" not in kinds


def test_what_has_a_converter_stays(normalised_net: ModelProto) -> None:
    assert expand_functions(normalised_net) is normalised_net


def test_what_has_no_body_stays(linear: ModelProto, without: Callable[[str], None]) -> None:
    without("MatMul")
    assert expand_functions(linear) is linear


def test_preparation_expands(normalised_net: ModelProto, without: Callable[[str], None]) -> None:
    spec, output = read_signature(normalised_net)
    without("MeanVarianceNormalization")
    names = [node.name for node in prepare(normalised_net, spec, output).body.graph.node]
    assert len(names) > 3
    assert len(set(names)) == len(names)
