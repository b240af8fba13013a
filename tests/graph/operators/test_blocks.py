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


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str, compare: Compare, mapped: Callable[..., None], draw: Draw) -> None:
    for opset in (11, 13):
        compare("DepthToSpace", draw(2, 8, 3, 2), opset=opset, blocksize=2, mode=mode)
    mapped("DepthToSpace", draw(2, 8, 3, 2), blocksize=2, mode=mode)


def test_older_blocks(compare: Compare, draw: Draw) -> None:
    compare("DepthToSpace", draw(2, 8, 3, 2), opset=7, blocksize=2)
    for opset in (7, 13):
        compare("SpaceToDepth", draw(2, 3, 4, 6), opset=opset, blocksize=2)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_space_to_depth_undoes_depth_to_space(mode: str, parse: Callable[..., Any], draw: Draw) -> None:
    model = parse(
        f"""g (float[B, 8, 3, 2] x) => (float[B, 8, 3, 2] y) {{
             h = DepthToSpace<blocksize = 2, mode = "{mode}">(x)
             y = SpaceToDepth<blocksize = 2, mode = "{mode}">(h)
        }}""",
        opset=28,
    )
    x = torch.from_numpy(draw(2, 8, 3, 2))
    assert torch.equal(convert_graph(model)(x), x)


def test_an_unknown_mode_is_declined(parse: Callable[..., Any]) -> None:
    model = parse('g (float[B, 4, 1, 1] x) => (float[B, 1, 2, 2] y) { y = SpaceToDepth<mode = "RCD">(x) }')
    with pytest.raises(UnsupportedTeacherError, match="mode=RCD"):
        convert_graph(model)


def test_tile(compare: Compare, draw: Draw) -> None:
    for opset in (6, 13):
        compare("Tile", draw(2, 3), ints(1, 3), opset=max(opset, 7))
        compare("Tile", draw(2, 3), ints(2, 2), opset=max(opset, 7))


def test_tile_1_repeats_one_axis(parse: Callable[..., Any], draw: Draw) -> None:
    model = parse(
        "g (float[B, 3] x) => (float[B, 6] y) { y = Tile(x, n, axis) }",
        opset=5, n=np.array([2], np.float32), axis=np.array([1], np.float32),
    )  # fmt: skip
    x = draw(2, 3)
    np.testing.assert_array_equal(convert_graph(model)(torch.from_numpy(x)), np.tile(x, (1, 2)))


@pytest.mark.parametrize("k", [None, 0, 1, -1, 7, -9])
@pytest.mark.parametrize("upper", [0, 1])
def test_trilu(k: int | None, upper: int, compare: Compare, draw: Draw) -> None:
    stored = () if k is None else (np.array(k),)
    empty = k is not None and (k > 6 if upper else k < -6)
    compare("Trilu", draw(2, 3, 4), *stored, opset=14, upper=upper, gradient=not empty)


def test_reverse_sequence(compare: Compare, mapped: Callable[..., None], draw: Draw) -> None:
    compare("ReverseSequence", draw(4, 3, 2), ints(4, 1, 2), opset=10)
    compare("ReverseSequence", draw(4, 3, 2), ints(2, 1, 3, 1), opset=10, batch_axis=0, time_axis=1)
    mapped("ReverseSequence", draw(4, 3, 2), ints(2), opset=10, batch_axis=0, time_axis=1)


@pytest.mark.parametrize(
    ("image", "block", "length", "attributes"),
    [
        ((5, 5), (2, 3), 4, {"strides": [2, 2]}),
        ((5, 5), (1, 5), 5, {}),
        ((5, 5), (2, 2), 20, {"pads": [0, 1, 0, 0]}),
        ((5, 6), (2, 2), 12, {"dilations": [2, 2]}),
        ((3, 3, 2), (2, 2, 2), 4, {}),
    ],
)
def test_col2im(
    image: tuple[int, ...],
    block: tuple[int, ...],
    length: int,
    attributes: dict[str, list[int]],
    compare: Compare,
    mapped: Callable[..., None],
    draw: Draw,
) -> None:
    x = draw(2, 2 * int(np.prod(block)), length)
    compare("Col2Im", x, ints(*image), ints(*block), opset=18, **attributes)
    mapped("Col2Im", x, ints(*image), ints(*block), opset=18, **attributes)
