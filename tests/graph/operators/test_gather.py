from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize("index", [2, [1], [0, -1], [[0, 1], [2, -2]], -1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather(index: Any, axis: int, compare: Compare, draw: Draw) -> None:
    for opset in (1, 11, 13):
        compare("Gather", draw(3, 4, 5), np.array(index, dtype=np.int64), opset=max(opset, 7), axis=axis)


def test_rows_by_a_computed_index_that_is_mapped(parse: Callable[..., Any], draw: Draw) -> None:
    table = draw(10, 4)
    model = parse(
        "g (float[B, 3] x) => (float[B, 3, 4] y) { i = Cast<to = 7>(x)  y = Gather(w, i) }", w=table
    )
    x = np.array([[0, 9, -1], [3, -10, 2]], np.float32)
    module = convert_graph(model)
    wanted = table[x.astype(int)]
    np.testing.assert_array_equal(module(torch.from_numpy(x)), wanted)
    mapped = torch.vmap(lambda one: module(one[None])[0])(torch.from_numpy(x))
    np.testing.assert_array_equal(mapped, wanted)


def test_a_scalar_from_a_vector(parse: Callable[..., Any]) -> None:
    text = "n = Shape(x)  i = Sub(n, two)  j = Squeeze(i)  y = Gather(x, j)"
    module = convert_graph(parse(f"g (float[N] x) => (float y) {{ {text} }}", two=ints(2)))
    assert module(torch.tensor([3.0, 4.0, 5.0])) == 4.0


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements(axis: int, compare: Compare, mapped: Callable[..., None], draw: Draw) -> None:
    index = np.array([[0, -1, 1], [-3, 2, 0]])
    for opset in (11, 13):
        compare("GatherElements", draw(3, 4), index, opset=opset, axis=axis)
    mapped("GatherElements", draw(3, 4), index[:1], axis=1)


@pytest.mark.parametrize(
    ("index", "batch_dims"),
    [
        ([[0, 1], [-1, 2]], 0),
        ([[[0], [1]]], 0),
        ([0, 1, 2], 0),
        ([[[0], [2]], [[-1], [1]]], 1),
        ([[[0, 3], [2, -1]], [[-1, 0], [1, 1]]], 1),
        ([[[1], [2], [0]], [[-1], [0], [3]]], 2),
    ],
)
def test_gather_nd(index: Any, batch_dims: int, compare: Compare, draw: Draw) -> None:
    compare("GatherND", draw(2, 3, 4), np.array(index), opset=13, batch_dims=batch_dims)
    if not batch_dims:
        compare("GatherND", draw(2, 3, 4), np.array(index), opset=11)


def test_compress(compare: Compare, draw: Draw) -> None:
    for opset in (9, 11):
        compare("Compress", draw(3, 4), np.array([True, False, True]), opset=opset, axis=0)
        compare("Compress", draw(3, 4), np.array([False, True, True, False, True]), opset=opset)
    compare("Compress", draw(3, 4), np.array([False, True]), opset=11, axis=-1)


def test_a_computed_condition_is_declined(parse: Callable[..., Any]) -> None:
    model = parse(
        "g (float[N] x) => (float[M] y) { c = Greater(x, zero)  y = Compress(x, c) }",
        zero=np.array([0], np.float32),
    )
    with pytest.raises(UnsupportedTeacherError, match="Compress with a computed condition"):
        convert_graph(model)
