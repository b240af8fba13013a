from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.graph.convert import claim_graph

Parse = Callable[..., ModelProto]
Operators = Callable[..., list[str]]
Array = np.ndarray[Any, Any]

NORM = """mean = ReduceMean<axes = {axes}>(x)
 c = Sub(x, mean)
 q = {square}
 variance = ReduceMean<axes = {axes}>(q)
 v = Add(variance, epsilon)
 d = Sqrt(v)
 n = {quotient}
 s = Mul(n, scale)
 y = Add(s, shift)"""
USUAL = {"axes": "[-1]", "square": "Pow(c, two)", "quotient": "Div(c, d)"}


def norm(
    parse: Parse, draw: Callable[..., Any], text: str = "", kind: str = "float", opset: int = 13, **other: Any
) -> ModelProto:
    stored = {"two": np.float32(2), "epsilon": np.float32(1e-3), "scale": draw(6), "shift": draw(6)}
    kept = {name: np.asarray(value) for name, value in {**stored, **other}.items()}
    if kind != "float":
        kept = {
            name: value.astype({"float16": "float16", "double": "float64"}[kind])
            for name, value in kept.items()
        }
    body = text or NORM.format(**USUAL)
    return parse(f"g ({kind}[B, 3, 6] x) => ({kind}[B, 3, 6] y) {{ {body} }}", opset=opset, **kept)


@pytest.fixture
def x(draw: Callable[..., Any]) -> Array:
    array: Array = draw(4, 3, 6)
    return array


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"axes": "[2]"},
        {"square": "Mul(c, c)"},
        {"quotient": "Mul(c, r)", "square": "Mul(c, c)"},
        {"quotient": "Mul(r, c)"},
    ],
)
def test_layer_norm_is_one(
    parse: Parse, draw: Callable[..., Any], operators: Operators, x: Array, change: dict[str, str]
) -> None:
    text = NORM.format(**USUAL | change)
    if "quotient" in change:
        text = text.replace("\n n =", "\n r = Reciprocal(d)\n n =")
    assert operators(norm(parse, draw, text), x) == ["LayerNormalization"]


@pytest.mark.parametrize("axes", ["[1, 2]", "[-1, -2]"])
def test_several_last_axes_are_normalised_together(
    parse: Parse, draw: Callable[..., Any], operators: Operators, x: Array, axes: str
) -> None:
    text = NORM.format(**USUAL | {"axes": axes})
    assert operators(norm(parse, draw, text, scale=draw(3, 6)), x) == ["LayerNormalization"]


def test_axes_may_be_an_input(parse: Parse, draw: Callable[..., Any], operators: Operators, x: Array) -> None:
    text = NORM.format(**USUAL).replace("<axes = [-1]>(x)", "(x, a)").replace("<axes = [-1]>(q)", "(q, a)")
    model = norm(parse, draw, text, opset=18, a=np.array([-1]))
    assert operators(model, x) == ["LayerNormalization"]


def test_it_may_only_be_scaled(
    parse: Parse, draw: Callable[..., Any], operators: Operators, x: Array
) -> None:
    text = NORM.format(**USUAL).replace("s = Mul", "y = Mul").rpartition("\n")[0]
    assert operators(norm(parse, draw, text), x) == ["LayerNormalization"]


@pytest.mark.parametrize(("kind", "tolerance"), [("float16", 5e-3), ("double", 1e-5)])
def test_other_float_types(
    parse: Parse, draw: Callable[..., Any], operators: Operators, x: Array, kind: str, tolerance: float
) -> None:
    given = x.astype({"float16": np.float16, "double": np.float64}[kind])
    assert operators(norm(parse, draw, kind=kind), given, tolerance) == ["LayerNormalization"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[-1]", "[1]"),
        ("ReduceMean<axes = [-1]>(q)", "ReduceMean<axes = [1]>(q)"),
        ("ReduceMean<axes = [-1]>(x)", "ReduceMean<axes = [1, 2]>(x)"),
        ("Add(variance, epsilon)", "Add(variance, variance)"),
        ("Pow(c, two)", "Mul(x, x)"),
        ("Div(c, d)", "Div(x, d)"),
        ("Mul(n, scale)", "Mul(n, x)"),
        ("Add(s, shift)", "Add(s, mean)"),
        ("Add(s, shift)", "Add(s, c)"),
        ("Add(s, shift)", "Add(s, variance)"),
    ],
)
def test_what_only_looks_like_it_stays(
    parse: Parse, draw: Callable[..., Any], operators: Operators, x: Array, old: str, new: str
) -> None:
    text = NORM.format(**USUAL)
    assert old in text
    assert "Sqrt" in operators(norm(parse, draw, text.replace(old, new)), x)


def test_a_mean_without_its_axis_stays(parse: Parse, draw: Callable[..., Any]) -> None:
    """From a square it can be subtracted, along the wrong axis; onnxruntime itself mistakes it."""
    body = NORM.format(**USUAL | {"axes": "[-1], keepdims = 0"})
    stored = {"two": np.asarray(np.float32(2)), "epsilon": np.asarray(np.float32(1)), "scale": draw(6)}
    model = parse(f"g (float[6, 6] x) => (float[6, 6] y) {{ {body} }}", opset=13, **stored, shift=draw(6))
    assert "Sqrt" in [node.op_type for node in claim_graph(model).graph.node]


def test_a_scale_with_an_axis_of_its_own_stays(
    parse: Parse, draw: Callable[..., Any], operators: Operators, x: Array
) -> None:
    assert "Sqrt" in operators(norm(parse, draw, scale=draw(3, 1)), x)


DENSE = "m = MatMul(x, w)\n y = Add(m, b)"


def dense(parse: Parse, text: str = DENSE, **stored: Array) -> ModelProto:
    return parse(f"g (float[B, 3, 6] x) => (float y) {{ {text} }}", **stored)


@pytest.mark.parametrize("text", [DENSE, DENSE.replace("m, b", "b, m")])
def test_a_dense_layer_is_one(
    parse: Parse, draw: Callable[..., Any], operators: Operators, x: Array, text: str
) -> None:
    assert operators(dense(parse, text, w=draw(6, 4), b=draw(4)), x) == ["Gemm"]


@pytest.mark.parametrize(
    ("text", "weight", "bias"),
    [
        (DENSE, (6, 4), (3, 4)),
        (DENSE, (6, 4), (1,)),
        (DENSE, (1, 6, 6), (6,)),
        (f"{DENSE.replace('y =', 'z =')}\n y = Mul(z, m)", (6, 4), (4,)),
        ("m = MatMul(x, w)\n n = MatMul(x, w)\n y = Add(m, n)", (6, 4), (4,)),
    ],
)
def test_another_sum_stays(
    parse: Parse,
    draw: Callable[..., Any],
    operators: Operators,
    x: Array,
    text: str,
    weight: tuple[int, ...],
    bias: tuple[int, ...],
) -> None:
    assert "MatMul" in operators(dense(parse, text, w=draw(*weight), b=draw(*bias)), x)
