from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]


def places(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).uniform(-1.4, 1.4, shape).astype(np.float32)


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_grid_sample(mode: str, padding: str, aligned: int, compare: Compare, draw: Draw) -> None:
    options = {"padding_mode": padding, "align_corners": aligned}
    x, grid = draw(2, 3, 5, 4), places(2, 3, 3, 2)
    for opset in (20, 22):
        compare("GridSample", x, grid, opset=opset, mode=mode, **options)
    old = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    compare("GridSample", x, grid, opset=16, mode=old, **options)
    if mode != "cubic":
        compare("GridSample", draw(2, 2, 3, 4, 5), places(2, 2, 3, 3, 3), opset=20, mode=mode, **options)


def test_grid_sample_under_vmap(mapped: Callable[..., None], draw: Draw) -> None:
    mapped("GridSample", draw(3, 2, 5, 4), places(1, 3, 3, 2), opset=20)


def test_cubic_volumes_are_declined(parse: Callable[..., Any]) -> None:
    model = parse(
        'g (float[B, 1, 3, 3, 3] x) => (float[B, 1, 2, 2, 2] y) { y = GridSample<mode = "cubic">(x, p) }',
        opset=20, p=places(1, 2, 2, 2, 3),
    )  # fmt: skip
    with pytest.raises(UnsupportedTeacherError, match="cubic GridSample of 5 axes"):
        convert_graph(model)


@pytest.mark.parametrize("aligned", [0, 1])
def test_affine_grid(aligned: int, compare: Compare, draw: Draw) -> None:
    compare("AffineGrid", draw(2, 2, 3), np.array([2, 3, 4, 5]), opset=20, align_corners=aligned)
    compare("AffineGrid", draw(2, 3, 4), np.array([2, 3, 4, 5, 3]), opset=20, align_corners=aligned)
