from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.shapes import infer_shapes
from cake_onnx.graph.sizes import settle_sizes
from cake_onnx.graph.wiring import Wiring

Parse = Callable[..., ModelProto]

HEADS = """s = Shape(x)
 b = Gather<axis = 0>(s, zero)
 n = Slice(s, first, second)
 c = Gather<axis = 0>(s, minus)
 d = Div(c, two)
 b1 = Unsqueeze(b, front)
 d1 = Unsqueeze(d, front)
 target = Concat<axis = 0>(b1, n, heads, d1)
 h = Reshape(x, target)
 t = Transpose<perm = [0, 2, 1, 3]>(h)
 s2 = Shape<start = -1>(t)
 f = Cast<to = 1>(s2)
 r = Sqrt(f)
 y = Div(t, r)"""
"""`x.reshape(b, n, 2, c // 2)`, turned and divided by the root of `c // 2`."""


def model(parse: Parse, text: str, dims: str = "B, 5, 8") -> ModelProto:
    stored = {
        "zero": np.array(0), "minus": np.array(-1), "two": np.array(2), "front": np.array([0]),
        "first": np.array([1]), "second": np.array([2]), "heads": np.array([2]),
        "rest": np.array([-1]), "none": np.array([0]),
    }  # fmt: skip
    return infer_shapes(parse(f"g (float[{dims}] x) => (float y) {{ {text} }}", **stored))


def test_sizes_beside_the_batch_are_computed(parse: Parse, draw: Callable[..., Any]) -> None:
    original = model(parse, HEADS)
    settled = settle_sizes(original)
    assert [node.op_type for node in settled.graph.node] == ["Reshape", "Transpose", "Div"]
    for batch in (1, 3):
        x = draw(batch, 5, 8)
        wanted, found = (
            open_session(one.SerializeToString()).run(None, {"x": x})[0] for one in (original, settled)
        )
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_allclose(convert_graph(original)(torch.from_numpy(x)), wanted, rtol=1e-6)


def test_the_model_that_was_given_stays_as_it_was(parse: Parse) -> None:
    original = model(parse, HEADS)
    before = original.SerializeToString()
    settle_sizes(original)
    assert original.SerializeToString() == before


@pytest.mark.parametrize(
    "text",
    [
        "s = Shape(x)\n b = Gather<axis = 0>(s, zero)\n f = Cast<to = 1>(b)\n y = Mul(x, f)",
        "s = Shape(x)\n b = Slice(s, front, first)\n f = Cast<to = 1>(b)\n y = Mul(x, f)",
        "s = Shape(x)\n y = Expand(x, s)",
        "y = Relu(x)",
    ],
)
def test_the_batch_stays_open(parse: Parse, text: str) -> None:
    original = model(parse, text)
    assert settle_sizes(original) is original


def test_unknown_sizes_stay_open(parse: Parse) -> None:
    original = model(parse, HEADS, dims="B, N, C")
    assert settle_sizes(original) is original


@pytest.mark.parametrize("reading", ["Shape<start = 1>(x)", "Shape<start = -2, end = 3>(x)"])
def test_a_size_that_the_graph_gives_out_keeps_its_node(parse: Parse, reading: str) -> None:
    original = model(parse, f"y = {reading}")
    assert settle_sizes(original) is original


def test_nothing_is_computed_where_nothing_of_the_input_would_be_left(parse: Parse) -> None:
    original = model(parse, "s = Shape<start = 1>(x)\n y = Cast<to = 1>(s)")
    assert settle_sizes(original) is original


@pytest.mark.parametrize("index", [7, -3])
def test_an_index_beyond_the_axes_is_left_to_others(parse: Parse, index: int) -> None:
    text = "s = Shape(x)\n n = Gather<axis = 0>(s, i)\n f = Cast<to = 1>(n)\n y = Mul(x, f)"
    original = infer_shapes(parse(f"g (float[B, 5] x) => (float y) {{ {text} }}", i=np.array(index)))
    assert settle_sizes(original) is original


def target(settled: ModelProto) -> list[int]:
    """Where the only Reshape goes to, if that is stored."""
    (node,) = [node for node in settled.graph.node if node.op_type == "Reshape"]
    stored = Wiring(settled.graph).constant(node.input[1])
    assert stored is not None
    return [int(size) for size in stored]


@pytest.mark.parametrize(
    ("dims", "text", "wanted"),
    [
        ("B, 4, 3, 3", "b = Slice(s, front, second)\n t = Concat<axis = 0>(b, rest)", [-1, 4, 9]),
        ("B, 4, H", "b = Slice(s, front, second)\n t = Concat<axis = 0>(b, rest)", None),
        ("B, 4, 6", "b = Slice(s, front, first)\n t = Concat<axis = 0>(rest, b, heads)", [12, -1, 2]),
        ("4, B, C", "b = Slice(s, first, second)\n t = Concat<axis = 0>(b, heads, rest)", None),
        ("B, 4, 6", "b = Slice(s, front, first)\n t = Concat<axis = 0>(b, heads, none)", None),
    ],
)
def test_what_is_left_over_beside_one_open_size_is_computed(
    parse: Parse, draw: Callable[..., Any], dims: str, text: str, wanted: list[int] | None
) -> None:
    original = model(parse, f"s = Shape(x)\n {text}\n y = Reshape(x, t)", dims)
    if wanted is None:
        assert settle_sizes(original) is original
        return
    settled = settle_sizes(original)
    assert target(settled) == wanted
    sizes = [3 if size.isalpha() else int(size) for size in dims.split(", ")]
    x = draw(*sizes)
    found, expected = (
        open_session(one.SerializeToString()).run(None, {"x": x})[0] for one in (settled, original)
    )
    np.testing.assert_array_equal(found, expected)
