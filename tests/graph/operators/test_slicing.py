from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ((1,), (3,), (1,), (1,)),
        ((0,), (10**12,), (-1,), (2,)),
        ((-3,), (-1,), (1,), (1,)),
        ((-1,), (-(10**12),), (1,), (-1,)),
        ((3,), (0,), (1,), (-2,)),
        ((10,), (-9,), (2,), (-3,)),
        ((0, 1), (2, 4), (1, 2), (1, 2)),
    ],
)
def test_slice(
    starts: tuple[int, ...],
    ends: tuple[int, ...],
    axes: tuple[int, ...],
    steps: tuple[int, ...],
    compare: Compare,
    draw: Draw,
) -> None:
    for opset in (10, 11, 13):
        compare("Slice", draw(2, 5, 7), ints(*starts), ints(*ends), ints(*axes), ints(*steps), opset=opset)


def test_slice_with_defaults(compare: Compare, draw: Draw) -> None:
    compare("Slice", draw(4, 5), ints(1, 2), ints(3, 4))
    compare("Slice", draw(4, 5), opset=9, starts=[1], ends=[3], axes=[1])
    compare("Slice", draw(4, 5), opset=9, starts=[1, 0], ends=[3, 2])


def test_split(compare: Compare, draw: Draw) -> None:
    compare("Split", draw(2, 7), outputs=3, opset=18, axis=1, num_outputs=3)
    compare("Split", draw(2, 7), ints(3, 4), outputs=2, opset=13, axis=1)
    compare("Split", draw(2, 7), ints(3, 4), outputs=2, opset=18, axis=-1)
    compare("Split", draw(2, 6), outputs=2, opset=13, axis=1)
    compare("Split", draw(2, 7), outputs=2, opset=11, axis=1, split=[3, 4])


@pytest.mark.parametrize("index", [2, [1], [0, -1], [[0, 1], [2, -2]], -1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather(index: Any, axis: int, compare: Compare, draw: Draw) -> None:
    compare("Gather", draw(3, 4, 5), np.array(index, dtype=np.int64), axis=axis)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(mode: str, compare: Compare, draw: Draw) -> None:
    pads = ints(0, 0, 1, 2, 0, 0, 3, 1)
    for opset in (11, 13, 18, 21):
        compare("Pad", draw(2, 3, 4, 5), pads, opset=opset, mode=mode)


def test_pad_variants(compare: Compare, draw: Draw) -> None:
    value = np.array(0.5, dtype=np.float32)
    compare("Pad", draw(2, 3, 4), ints(0, 1, -1, 0, 2, 1), value)
    compare("Pad", draw(2, 3, 4), ints(1, 2), value, ints(-1), opset=18)
    compare("Pad", draw(2, 3, 4), ints(0, 0, 3, 0, 0, 5), opset=19, mode="wrap")
    compare("Pad", draw(2, 3, 4), opset=9, pads=[0, 1, 1, 0, 2, 1], value=2.0)


def test_an_unknown_mode_is_declined(parse: Callable[..., ModelProto]) -> None:
    model = parse(
        'g (float[B, 3] x) => (float[B, N] y) { y = Pad<mode = "spiral">(x, p) }', p=ints(0, 1, 0, 1)
    )
    with pytest.raises(UnsupportedTeacherError, match="padding mode spiral"):
        convert_graph(model)
