from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, parser

from cake_onnx.graph.inspect import is_quantised, operator_counts, parameter_count, traits

Parse = Callable[..., ModelProto]


def test_operators_are_counted_with_their_domain(multi_sklearn: ModelProto, softmax_net: ModelProto) -> None:
    assert operator_counts(softmax_net) == {"Gemm": 2, "Relu": 1, "Softmax": 1}
    assert operator_counts(multi_sklearn)["ai.onnx.ml.ZipMap"] == 1


def test_functions_count_by_what_they_hold() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
    net (float[B, 2] x) => (float[B, 2] y) { y = mine.twice(x) }
    <domain: "mine", opset_import: ["" : 17]>
    twice (a) => (b) { b = Add(a, a) }"""
    assert operator_counts(parser.parse_model(text)) == {"Add": 1}


def test_parameters(softmax_net: ModelProto, fixed_cnn: ModelProto, quantised_net: ModelProto) -> None:
    assert parameter_count(softmax_net) == 4 * 8 + 8 + 8 * 3 + 3
    assert parameter_count(fixed_cnn) == 2 * 9 + 32 * 3, "reshape targets are no parameters"
    assert parameter_count(quantised_net) == 4 * 3, "scales and zero points are no parameters"


TRAITS = {
    "convolution": ("y = Conv(x, k)", {"convolution"}),
    "residual": ("a = Relu(x)\n b = Neg(a)\n y = Add(a, b)", {"residual"}),
    "bias is no shortcut": ("y = Add(x, bias)", set()),
    "shortcut from the input": ("a = Relu(x)\n y = Add(x, a)", set()),
    "attention": ("s = Softmax(x)\n y = MatMul(s, x)", {"attention"}),
    "softmax at the end": ("y = Softmax(x)", set()),
    "normalisation": ("y = InstanceNormalization(x, bias, bias)", {"normalisation"}),
    "recurrent": ("h = Squeeze(x)\n y, last = GRU<hidden_size = 2>(h, k, k)", {"recurrent"}),
}


@pytest.mark.parametrize("name", TRAITS)
def test_traits(name: str, parse: Parse, draw: Callable[..., Any]) -> None:
    nodes, expected = TRAITS[name]
    model = parse(f"g (float[B, 2, 4, 4] x) => (float y) {{ {nodes} }}", k=draw(2, 2, 1, 1), bias=np.zeros(2))
    assert traits(model) == expected


def test_quantised(quantised_net: ModelProto, linear: ModelProto) -> None:
    assert is_quantised(quantised_net)
    assert "quantised" in traits(quantised_net)
    assert not is_quantised(linear)
