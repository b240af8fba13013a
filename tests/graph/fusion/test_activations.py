from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.graph.convert import claim_graph, number_nodes
from cake_onnx.graph.fusion import fuse_chains
from cake_onnx.graph.shapes import infer_shapes

Parse = Callable[..., ModelProto]
Operators = Callable[..., list[str]]

ERF = (
    "s = Div(x, root)\n e = Erf(s)",
    "s = Mul(x, inverse)\n e = Erf(s)",
    "s = Mul(inverse, x)\n e = Erf(s)",
)
TANH = (
    "c = Pow(x, three)\n k = Mul(c, small)\n i = Add(x, k)\n s = Mul(i, wide)\n e = Tanh(s)",
    "c = Pow(x, three)\n k = Mul(small, c)\n i = Add(k, x)\n s = Mul(wide, i)\n e = Tanh(s)",
)
ORDERS = (
    "g = Add(e, one)\n m = Mul(x, g)\n y = Mul(m, half)",
    "g = Add(one, e)\n m = Mul(g, x)\n y = Mul(half, m)",
    "g = Add(e, one)\n m = Mul(half, g)\n y = Mul(x, m)",
    "g = Add(e, one)\n m = Mul(x, half)\n y = Mul(m, g)",
)
NUMBERS = {
    "root": 2**0.5, "inverse": 0.5**0.5, "one": 1.0, "half": 0.5, "three": 3.0, "small": 0.044715,
    "wide": (2 / np.pi) ** 0.5,
}  # fmt: skip


def model(parse: Parse, body: str, kind: str = "float", **other: Any) -> ModelProto:
    stored = np.dtype({"float": "float32", "float16": "float16", "double": "float64"}[kind])
    numbers = {name: np.asarray(value, stored) for name, value in {**NUMBERS, **other}.items()}
    return parse(f"g ({kind}[B, 5] x) => ({kind}[B, 5] y) {{ {body} }}", **numbers)


@pytest.fixture
def x(draw: Callable[..., Any]) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = 2 * draw(6, 5)
    return array


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("gate", [*ERF, *TANH])
def test_every_way_to_write_gelu_is_one(
    parse: Parse, operators: Operators, x: np.ndarray[Any, Any], gate: str, order: str
) -> None:
    text = f"{gate}\n {order}"
    assert operators(model(parse, text), x) in (["Gelu"], ["FastGelu"])


def test_silu_is_one(parse: Parse, operators: Operators, x: np.ndarray[Any, Any]) -> None:
    assert operators(model(parse, "s = Sigmoid(x)\n y = Mul(s, x)"), x) == ["Swish"]


def test_sigmoid_of_something_else_is_not(
    parse: Parse, operators: Operators, x: np.ndarray[Any, Any]
) -> None:
    assert "Swish" not in operators(model(parse, "s = Sigmoid(x)\n t = Tanh(x)\n y = Mul(s, t)"), x)


@pytest.mark.parametrize("other", [{"root": 1.4}, {"one": 1.01}, {"half": 0.51}])
def test_other_numbers_are_no_gelu(
    parse: Parse, operators: Operators, x: np.ndarray[Any, Any], other: dict[str, float]
) -> None:
    assert "Erf" in operators(model(parse, f"{ERF[0]}\n {ORDERS[0]}", "float", **other), x)


def test_numbers_that_are_computed_are_no_gelu(
    parse: Parse, operators: Operators, x: np.ndarray[Any, Any]
) -> None:
    text = f"h = ReduceMax<keepdims = 0>(x)\n s = Div(x, h)\n e = Erf(s)\n {ORDERS[0]}"
    assert "Erf" in operators(model(parse, text), x)


@pytest.mark.parametrize("read", ["s", "e", "g", "m"])
def test_an_inner_value_that_is_read_elsewhere_stays(
    parse: Parse, operators: Operators, x: np.ndarray[Any, Any], read: str
) -> None:
    text = f"{ERF[0]}\n {ORDERS[0].replace('y =', 'z =')}\n y = Add(z, {read})"
    assert "Erf" in operators(model(parse, text), x)


@pytest.mark.parametrize("given", ["s", "e", "g", "m"])
def test_an_inner_value_that_the_graph_gives_out_stays(parse: Parse, given: str) -> None:
    numbers = {name: np.float32(value) for name, value in NUMBERS.items()}
    text = f"g (float[B, 5] x) => (float[B, 5] y, float[B, 5] {given}) {{ {ERF[0]}\n {ORDERS[0]} }}"
    two = infer_shapes(number_nodes(parse(text, **{name: np.asarray(n) for name, n in numbers.items()})))
    assert fuse_chains(two) is two


@pytest.mark.parametrize(("kind", "fused"), [("float16", False), ("double", True)])
def test_other_float_types(
    parse: Parse, operators: Operators, x: np.ndarray[Any, Any], kind: str, fused: bool
) -> None:
    """√2 of 16 bits is not √2; onnxruntime has no Erf of doubles, so that one is only looked at."""
    one = model(parse, f"{ERF[0]}\n {ORDERS[0]}", kind)
    if fused:
        assert [node.op_type for node in claim_graph(one).graph.node] == ["Gelu", "Identity"]
    else:
        assert "Erf" in operators(one, x.astype(np.float16), tolerance=2e-3)


def test_a_graph_without_chains_is_left_alone(parse: Parse) -> None:
    plain = infer_shapes(number_nodes(model(parse, "r = Relu(x)\n t = Tanh(r)\n y = Mul(t, half)")))
    assert fuse_chains(plain) is plain


def test_the_place_is_that_of_the_last_node(parse: Parse) -> None:
    claimed = claim_graph(model(parse, f"{ERF[0]}\n {ORDERS[0].replace('y =', 'z =')}\n y = Relu(z)"))
    assert [node.name for node in claimed.graph.node][:2] == ["n4_Gelu", "n5_Relu"]
    assert claimed.graph.node[0].output[0] == "z"
