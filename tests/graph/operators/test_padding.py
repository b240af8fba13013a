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


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(mode: str, compare: Compare, draw: Draw) -> None:
    pads = ints(0, 0, 1, 2, 0, 0, 3, 1)
    for opset in (11, 13, 18, 21, 23, 24, 25):
        compare("Pad", draw(2, 3, 4, 5), pads, opset=opset, mode=mode)
    compare("Pad", draw(2, 3, 4), opset=9, pads=[0, 1, 1, 0, 2, 1], mode=mode)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [(0, -1, 0, 3), (0, 4, 0, 4), (0, -2, 0, -1), (1, -1, 1, -1), (0, 3, 0, -1)])
def test_pads_crop_and_reach_far(pads: tuple[int, ...], mode: str, compare: Compare, draw: Draw) -> None:
    if mode == "reflect" and pads[0] == 1:
        pads = (0, *pads[1:])
    compare("Pad", draw(3, 5), ints(*pads), opset=19, mode=mode)


def test_edge_and_wrap_reach_any_distance(compare: Compare, draw: Draw) -> None:
    for mode in ("edge", "wrap"):
        compare("Pad", draw(2, 3), ints(0, 8, 0, 11), opset=19, mode=mode)


def test_pad_variants(compare: Compare, mapped: Callable[..., None], draw: Draw) -> None:
    value = np.array(0.5, dtype=np.float32)
    compare("Pad", draw(2, 3, 4), ints(0, 1, -1, 0, 2, 1), value)
    compare("Pad", draw(2, 3, 4), ints(1, 2), value, ints(-1), opset=18)
    compare("Pad", draw(2, 3, 4), ints(0, 0, 3, 0, 0, 5), opset=19, mode="wrap")
    compare("Pad", draw(2, 3, 4), opset=9, pads=[0, 1, 1, 0, 2, 1], value=2.0)
    for mode in ("constant", "reflect", "edge", "wrap"):
        mapped("Pad", draw(2, 3, 4), ints(0, 1, 2, 0, 0, 1), opset=19, mode=mode)


def test_pad_1_calls_them_paddings(parse: Callable[..., Any], draw: Draw) -> None:
    model = parse(
        "g (float[B, 3] x) => (float[B, 6] y) { y = Pad<paddings = [0, 1, 0, 2], value = 2.0>(x) }", opset=1
    )
    x = draw(2, 3)
    wanted = np.pad(x, ((0, 0), (1, 2)), constant_values=2.0)
    np.testing.assert_array_equal(convert_graph(model)(torch.from_numpy(x)), wanted)


def test_a_computed_value_fills_the_border_and_gets_a_gradient(parse: Callable[..., Any], draw: Draw) -> None:
    model = parse(
        "g (float[B, 3] x) => (float[B, 6] y) { v = ReduceMax<keepdims = 0>(x)  y = Pad(x, p, v) }",
        p=ints(0, 1, 0, 2),
    )
    x = torch.from_numpy(draw(2, 3)).requires_grad_()
    padded = convert_graph(model)(x)
    assert torch.equal(padded[:, 0], x.max().expand(2))
    padded[:, 5].sum().backward()
    assert x.grad is not None
    assert x.grad.sum() == 2


def test_an_unknown_mode_is_declined(parse: Callable[..., Any]) -> None:
    model = parse(
        'g (float[B, 3] x) => (float[B, N] y) { y = Pad<mode = "spiral">(x, p) }', p=ints(0, 1, 0, 1)
    )
    with pytest.raises(UnsupportedTeacherError, match="padding mode spiral"):
        convert_graph(model)


@pytest.mark.parametrize("size", [(2, 9), (5, 5), (8, 4), (7, 6)])
def test_center_crop_pad(size: tuple[int, int], compare: Compare, draw: Draw) -> None:
    compare("CenterCropPad", draw(3, 8, 5), ints(*size), opset=18, axes=[1, -1])
    compare("CenterCropPad", draw(3, 8, 5), ints(3, *size), opset=18)
