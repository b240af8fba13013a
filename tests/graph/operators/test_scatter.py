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


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
def test_scatter_elements(reduction: str, compare: Compare, mapped: Callable[..., None], draw: Draw) -> None:
    index = np.array([[0, -1], [2, 1], [3, -2]])
    compare("ScatterElements", draw(3, 4), index, draw(3, 2), opset=18, axis=1, reduction=reduction)
    one = np.array([[[0, -1], [2, 1]]])
    mapped("ScatterElements", draw(3, 3, 4), one, draw(1, 2, 2), opset=18, axis=1, reduction=reduction)


def test_older_scatters(compare: Compare, draw: Draw) -> None:
    index, updates = np.array([[0, 1], [2, 1]]), draw(2, 2)
    compare("Scatter", draw(3, 4), index, updates, opset=9, axis=1)
    compare("Scatter", draw(3, 4), index, updates, opset=9)
    for opset in (11, 13, 16):
        compare("ScatterElements", draw(3, 4), index, updates, opset=opset, axis=-1)


def test_duplicates_add_up(compare: Compare, draw: Draw) -> None:
    index = np.array([[1, 1]])
    compare("ScatterElements", draw(1, 4), index, draw(1, 2), opset=16, axis=1, reduction="add")
    compare("ScatterND", draw(4), np.array([[1], [1]]), draw(2), opset=16, reduction="add")


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
def test_scatter_nd(reduction: str, compare: Compare, mapped: Callable[..., None], draw: Draw) -> None:
    compare("ScatterND", draw(3, 4), np.array([[0], [-1]]), draw(2, 4), opset=18, reduction=reduction)
    compare("ScatterND", draw(3, 4), np.array([[0, 1], [-1, 2]]), draw(2), opset=18, reduction=reduction)
    mapped("ScatterND", draw(3, 4), np.array([[0, 1], [0, 2]]), draw(2), opset=18, reduction=reduction)


def test_older_scatter_nd(compare: Compare, draw: Draw) -> None:
    for opset in (11, 13, 16):
        compare("ScatterND", draw(3, 4), np.array([[0], [2]]), draw(2, 4), opset=opset)


def test_both_sides_get_a_gradient(parse: Callable[..., Any], draw: Draw) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 4] y) {
             u = Slice(x, a, b, one)
             y = ScatterElements<axis = 1>(x, i, u)
        }""",
        opset=18, a=ints(0), b=ints(1), one=ints(1), i=np.array([[2], [2]]),
    )  # fmt: skip
    x = torch.from_numpy(draw(2, 4)).requires_grad_()
    convert_graph(model)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[2, 1, 0, 1]] * 2


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode: str, parse: Callable[..., Any], draw: Draw) -> None:
    model = parse(
        f'g (float[B, 1, 4, 3] x) => (float[B, 1, 4, 3] y) {{ y = TensorScatter<mode = "{mode}">(x, u, s) }}',
        opset=24, u=draw(2, 1, 2, 3), s=ints(1, 3 if mode == "circular" else 2),
    )  # fmt: skip
    x, update = draw(2, 1, 4, 3), draw(2, 1, 2, 3)
    wanted = x.copy()
    wanted[0, :, [1, 2]] = update[0].swapaxes(0, 1)
    wanted[1, :, [3, 0] if mode == "circular" else [2, 3]] = update[1].swapaxes(0, 1)
    np.testing.assert_array_equal(convert_graph(model)(torch.from_numpy(x)), wanted)


def test_an_unknown_reduction_is_declined(parse: Callable[..., Any]) -> None:
    model = parse(
        'g (float[4] x) => (float[4] y) { y = ScatterND<reduction = "mean">(x, i, u) }',
        opset=18, i=np.array([[0]]), u=np.array([1], np.float32),
    )  # fmt: skip
    with pytest.raises(UnsupportedTeacherError, match="reduction=mean"):
        convert_graph(model)
