from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from cake_onnx.graph.operators.interpolation import Axis, Interpolation, nearest_places, weights


@pytest.mark.parametrize(("mode", "name"), [("linear", "bilinear"), ("cubic", "bicubic")])
@pytest.mark.parametrize(("size", "out"), [(7, 3), (5, 11), (9, 8)])
def test_weights_are_those_of_torch(mode: str, name: str, size: int, out: int) -> None:
    axis = Axis(size, out, out / size)
    unit = torch.eye(size).reshape(size, 1, 1, size)
    plain = functional.interpolate(unit, (1, out), mode=name).reshape(size, out).T
    np.testing.assert_allclose(weights(Interpolation(mode), axis), plain, atol=1e-5)
    # With a filter made wider, torch leaves out what lies outside and has another cubic parameter.
    how = Interpolation(mode, cubic=-0.5, exclude_outside=True, antialias=True)
    smooth = functional.interpolate(unit, (1, out), mode=name, antialias=True).reshape(size, out).T
    np.testing.assert_allclose(weights(how, axis), smooth, atol=1e-5)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude", [False, True])
def test_rows_sum_to_one(mode: str, exclude: bool) -> None:
    matrix = weights(Interpolation(mode, exclude_outside=exclude), Axis(5, 12, 2.4))
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-6)


def test_what_is_next_to_a_half_counts_as_one() -> None:
    # 0.5 / float32(1 / 7) is 3.4999998.
    axis = Axis(7, 1, float(np.float32(1 / 7)))
    up = Interpolation("nearest", "tf_half_pixel_for_nn", "round_prefer_ceil")
    down = Interpolation("nearest", "tf_half_pixel_for_nn", "round_prefer_floor")
    assert nearest_places(up, axis).tolist() == [4]
    assert nearest_places(down, axis).tolist() == [3]
