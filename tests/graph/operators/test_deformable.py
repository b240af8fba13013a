from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize("opset", [19, 22])
@pytest.mark.parametrize(("groups", "shared"), [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({}, (4, 6)),
        ({"pads": [1, 1, 1, 1]}, (6, 8)),
        ({"pads": [0, 1, 1, 0], "strides": [2, 1]}, (3, 7)),
        ({"pads": [2, 0, 2, 0], "dilations": [2, 1], "kernel_shape": [3, 2]}, (6, 6)),
    ],
)
def test_deform_conv(
    opset: int,
    groups: int,
    shared: int,
    attributes: dict[str, Any],
    size: tuple[int, int],
    compare: Compare,
    draw: Draw,
) -> None:
    inputs = (draw(2, 4, 6, 7), draw(6, 4 // groups, 3, 2), 2 * draw(2, shared * 12, *size))
    options = {"opset": opset, "group": groups, "offset_group": shared, **attributes}
    mask = draw(2, shared * 6, *size)
    compare("DeformConv", *inputs, **options)
    compare("DeformConv", *inputs, draw(6), mask, **options)
    compare("DeformConv", *inputs, None, mask, **options)
