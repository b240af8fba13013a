from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

Compare = Callable[..., Any]
Draw = Callable[..., Any]


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.int64)


def test_constants_of_every_kind(parse: Callable[..., Any]) -> None:
    kinds = {
        "value_float = 2.5": 2.5,
        "value_floats = [2.5]": 2.5,
        "value_int = 3": 3.0,
        "value_ints = [3]": 3.0,
        "value = float {2.5}": 2.5,
    }
    for kind, value in kinds.items():
        model = parse(
            f"g (float[1] x) => (float[1] y) {{ c = Constant<{kind}>()  f = Cast<to = 1>(c)  y = Mul(x, f) }}"
        )
        assert convert_graph(model)(torch.ones(1)) == value


def test_a_sparse_constant(parse: Callable[..., Any]) -> None:
    model = parse("g (float[2, 3] x) => (float[2, 3] y) { c = Constant<value_int = 1>()  y = Add(x, c) }")
    for places in (ints(1, 5), np.array([[0, 1], [1, 2]])):
        sparse = helper.make_sparse_tensor(
            numpy_helper.from_array(np.array([4, 7], np.float32), "v"),
            numpy_helper.from_array(places, "i"),
            [2, 3],
        )
        made = helper.make_node("Constant", [], ["c"], sparse_value=sparse)
        model.graph.node[0].CopyFrom(made)
        found = convert_graph(model)(torch.zeros(2, 3))
        assert found.tolist() == [[0, 4, 0], [0, 0, 7]]


def test_text_is_declined(parse: Callable[..., Any]) -> None:
    model = parse('g (float[1] x) => (string y) { y = Constant<value_string = "a">() }')
    with pytest.raises(UnsupportedTeacherError, match="Constant that holds text"):
        convert_graph(model)


def test_constant_of_a_computed_shape(parse: Callable[..., Any], draw: Draw) -> None:
    for value, wanted in (("", 0.0), ("<value = float[1] {3.0}>", 3.0), ("<value = int64[1] {3}>", 3.0)):
        model = parse(
            f"""g (float[B, 3] x) => (float[B, 3] y) {{
                 s = Shape(x)  c = ConstantOfShape{value}(s)  f = Cast<to = 1>(c)  y = Add(x, f)
            }}"""
        )
        x = torch.from_numpy(draw(2, 3))
        module = convert_graph(model)
        torch.testing.assert_close(module(x), x + wanted)
        torch.testing.assert_close(torch.vmap(lambda one, m=module: m(one[None])[0])(x), x + wanted)


@pytest.mark.parametrize(
    ("start", "delta", "count"), [(0, 1, 5), (0, 2, 3), (3, 2, 1), (9, -2, 2), (6, 1, 0)]
)
def test_range_up_to_a_size(
    start: int, delta: int, count: int, parse: Callable[..., Any], draw: Draw
) -> None:
    model = parse(
        """g (float[B, 5] x) => (float[N] y) {
             s = Shape<start = 1>(x)  n = Squeeze(s)  r = Range(a, n, d)  y = Cast<to = 1>(r)
        }""",
        a=np.array(start), d=np.array(delta),
    )  # fmt: skip
    found = convert_graph(model)(torch.from_numpy(draw(2, 5)))
    assert found.tolist() == list(range(start, 5, delta))
    assert len(found) == count


def test_range_of_fractions(parse: Callable[..., Any]) -> None:
    model = parse(
        "g (float x) => (float[N] y) { y = Range(x, b, d) }", b=np.float32(2.0), d=np.array(0.3, np.float32)
    )
    x = torch.tensor(1.0, requires_grad=True)
    found = convert_graph(model)(x)
    np.testing.assert_allclose(found.detach(), np.arange(1.0, 2.0, 0.3), rtol=1e-6)
    found.sum().backward()
    assert x.grad == 4


@pytest.mark.parametrize("attributes", [{}, {"k": 1}, {"k": -2}, {"dtype": 7, "k": 9}])
def test_eye_like(attributes: dict[str, int], compare: Compare, draw: Draw) -> None:
    for opset in (9, 22):
        compare("EyeLike", draw(3, 4), opset=opset, gradient=False, **attributes)


@pytest.mark.parametrize("axis", [-1, 0, 1, -2])
def test_one_hot(axis: int, parse: Callable[..., Any]) -> None:
    model = parse(
        f"g (int64[2, 3] x) => (float[A, B, C] y) {{ y = OneHot<axis = {axis}>(x, depth, values) }}",
        depth=np.array(3), values=np.array([2, 5], np.float32),
    )  # fmt: skip
    x = np.array([[0, -1, 2], [-3, 3, -4]])
    module = convert_graph(model)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(module(torch.from_numpy(x)), wanted)


def test_one_hot_under_vmap(parse: Callable[..., Any]) -> None:
    model = parse(
        "g (int64[B, 2] x) => (float[B, 2, 3] y) { y = OneHot(x, depth, values) }",
        depth=ints(3), values=np.array([0, 1], np.float32),
    )  # fmt: skip
    module, x = convert_graph(model), torch.tensor([[0, 1], [2, -1]])
    assert torch.equal(torch.vmap(lambda one: module(one[None])[0])(x), module(x))


def test_non_zero(compare: Compare) -> None:
    for opset in (9, 13):
        compare("NonZero", np.array([[1, 0, 2], [0, 3, 0]], np.float32), opset=opset, gradient=False)
