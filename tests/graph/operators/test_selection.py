from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

Compare = Callable[..., Any]
Draw = Callable[..., Any]

TIES = np.array([[1, 3, 3, 2, 3], [5, 1, 5, 1, 1], [0, 0, 0, 0, 0]], dtype=np.float32)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("keep", [0, 1])
def test_indices_of_extremes(op: str, keep: int, compare: Compare, mapped: Callable[..., None]) -> None:
    for opset in (7, 11, 12, 13):
        compare(op, TIES, opset=opset, keepdims=keep, gradient=False)
        compare(op, TIES, opset=opset, keepdims=keep, axis=1, gradient=False)
    for axis in (0, 1, -1):
        compare(op, TIES, keepdims=keep, axis=axis, select_last_index=1, gradient=False)
    mapped(op, TIES, axis=1, keepdims=keep, select_last_index=1)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("opset", [11, 24])
def test_top_k(largest: int, opset: int, compare: Compare, draw: Draw, mapped: Callable[..., None]) -> None:
    three = np.array([3], dtype=np.int64)
    compare("TopK", TIES, three, opset=opset, outputs=2, largest=largest)
    compare("TopK", draw(2, 6, 3), three, opset=opset, outputs=2, largest=largest, axis=1, sorted=1)
    mapped("TopK", TIES, three, opset=opset, outputs=2, largest=largest)


def test_top_k_of_old(compare: Compare) -> None:
    compare("TopK", TIES, opset=7, outputs=2, k=2)
    compare("TopK", TIES, np.array([2], dtype=np.int64), opset=10, outputs=2)


def test_of_equal_values_the_first_index_comes_first(parse: Callable[..., ModelProto]) -> None:
    text = "g (float[B, N] x) => (float[B, M] y) { v, i = TopK(x, k)\n y = Cast<to = 1>(i) }"
    many = np.random.default_rng(0).integers(0, 3, (2, 500)).astype(np.float32)
    for x, count in ((TIES, 3), (many, 400)):
        model = parse(text, k=np.array([count], dtype=np.int64))
        wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
        assert convert_graph(model)(torch.from_numpy(x)).tolist() == wanted.tolist()


def test_a_computed_number_is_declined(parse: Callable[..., ModelProto]) -> None:
    text = """g (float[B, 5] x) => (float[B, N] y) {
        s = Shape(x)
        k = Slice(s, zero, one)
        y, i = TopK(x, k)
    }"""
    model = parse(text, zero=np.array([0], dtype=np.int64), one=np.array([1], dtype=np.int64))
    with pytest.raises(UnsupportedTeacherError, match="a computed number of elements"):
        convert_graph(model)


@pytest.mark.parametrize("opset", [7, 11, 13])
@pytest.mark.parametrize("axis", [None, 1, 2])
def test_hardmax(
    opset: int, axis: int | None, compare: Compare, draw: Draw, mapped: Callable[..., None]
) -> None:
    attributes = {} if axis is None else {"axis": axis}
    compare("Hardmax", draw(2, 3, 4), opset=opset, **attributes)
    compare("Hardmax", TIES, opset=opset)
    mapped("Hardmax", draw(2, 3, 4), opset=opset, **attributes)
