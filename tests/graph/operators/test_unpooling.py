from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

Draw = Callable[..., Any]
Parse = Callable[..., ModelProto]


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((2, 3, 6), "kernel_shape = [2]"),
        ((2, 3, 6, 7), "kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 1, 1]"),
        ((2, 3, 9, 8), "kernel_shape = [2, 2], dilations = [3, 2], ceil_mode = 1"),
        ((2, 3, 5, 6), 'kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_LOWER"'),
        ((2, 2, 4, 5, 3), "kernel_shape = [2, 2, 2]"),
    ],
)
def test_places_of_the_maxima(
    shape: tuple[int, ...], window: str, order: int, parse: Parse, draw: Draw
) -> None:
    dims = ", ".join(map(str, shape[1:]))
    model = parse(
        f"g (float[B, {dims}] x) => (int64 i) {{ m, i = MaxPool<{window}, storage_order = {order}>(x) }}"
    )
    x = draw(*shape)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    torch.testing.assert_close(convert_graph(model)(torch.from_numpy(x)), torch.from_numpy(wanted))


def test_values_go_back_to_their_places(parse: Parse, draw: Draw) -> None:
    model = parse(
        """g (float[B, 3, 6, 6] x) => (float y) {
             m, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)
             n = Mul(m, m)
             y = MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>(n, i)
        }"""
    )
    x = draw(2, 3, 6, 6)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    point = torch.from_numpy(x).requires_grad_()
    found = convert_graph(model)(point)
    torch.testing.assert_close(found.detach(), torch.from_numpy(wanted))
    (slope,) = torch.autograd.grad(found.sum(), point)
    torch.testing.assert_close(slope, torch.where(found > 0, 2 * point, 0.0).detach())


def test_a_size_of_its_own_is_refused(parse: Parse, draw: Draw) -> None:
    model = parse(
        """g (float[1, 1, 4, 4] x) => (float y) {
             m, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)
             s = Constant<value_ints = [1, 1, 5, 5]>()
             y = MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>(m, i, s)
        }"""
    )
    with pytest.raises(UnsupportedTeacherError, match="output_shape"):
        convert_graph(model)
