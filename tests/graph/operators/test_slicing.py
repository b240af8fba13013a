from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

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


def test_split_with_computed_or_old_sizes(compare: Compare, draw: Draw, parse: Callable[..., Any]) -> None:
    compare("Split", draw(2, 6), outputs=3, opset=2, axis=-1)
    model = parse(
        """g (float[B, 6] x) => (float[B, 2] y) {
             n = Shape<start = 1>(x)
             third = Div(n, three)
             sizes = Concat<axis = 0>(third, third, third)
             a, y, b = Split<axis = 1>(x, sizes)
        }""",
        three=ints(3),
    )
    x = draw(2, 6)
    np.testing.assert_array_equal(convert_graph(model)(torch.from_numpy(x)), x[:, 2:4])


def test_split_refuses_parts_that_do_not_fit(parse: Callable[..., Any], draw: Draw) -> None:
    model = parse("g (float[B, 5] x) => (float[B, N] y) { y, z = Split<axis = 1>(x) }")
    with pytest.raises(ValueError, match="an axis of 5 split into 2 parts"):
        convert_graph(model)(torch.from_numpy(draw(2, 5)))


def test_negative_steps_start_inside(compare: Compare, draw: Draw) -> None:
    x = draw(2, 5)
    kept = compare("Slice", x, ints(-100), ints(-200), ints(1), ints(-1))
    np.testing.assert_array_equal(kept, x[:, :1])
    compare("Slice", x, ints(2**63 - 1), ints(-(2**63)), ints(1), ints(-2))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(axis: int, compare: Compare, draw: Draw) -> None:
    for opset in (4, 11, 13):
        compare("Concat", draw(2, 3), draw(2, 3), opset=max(opset, 7), axis=axis)


def test_concat_1_has_a_default_axis(parse: Callable[..., Any], draw: Draw) -> None:
    model = parse("g (float[B, 3] x) => (float[B, 6] y) { y = Concat(x, x) }", opset=3)
    x = draw(2, 3)
    np.testing.assert_array_equal(convert_graph(model)(torch.from_numpy(x)), np.concatenate([x, x], 1))
