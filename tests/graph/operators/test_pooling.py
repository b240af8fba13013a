from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Compare = Callable[..., Any]
Draw = Callable[..., Any]

WINDOWS: list[dict[str, Any]] = [
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 2, 0]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "VALID"},
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("opset", [8, 12, 22])
def test_max_pool(window: dict[str, Any], opset: int, compare: Compare, draw: Draw) -> None:
    compare("MaxPool", draw(2, 3, 7, 8), opset=opset, **window)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("with_pad", [0, 1])
def test_average_pool(window: dict[str, Any], with_pad: int, compare: Compare, draw: Draw) -> None:
    for opset in (7, 11, 19, 22):
        compare("AveragePool", draw(2, 3, 7, 8), opset=opset, count_include_pad=with_pad, **window)


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
@pytest.mark.parametrize("size", [7, 8, 9])
def test_ceil_mode(pads: list[int], size: int, compare: Compare, draw: Draw) -> None:
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads, "ceil_mode": 1}
    compare("MaxPool", draw(2, 3, size, size), opset=12, **window)
    for with_pad in (0, 1):
        compare("AveragePool", draw(2, 3, size, size), opset=19, count_include_pad=with_pad, **window)


def test_a_window_that_would_begin_in_the_padding_is_dropped(compare: Compare, draw: Draw) -> None:
    window = {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}
    assert compare("MaxPool", draw(2, 3, 5, 5), opset=12, **window).shape == (2, 3, 2, 2)
    compare("AveragePool", draw(2, 3, 5, 5), opset=19, **window)


def test_dilated_and_other_ranks(compare: Compare, draw: Draw) -> None:
    compare("MaxPool", draw(2, 3, 9, 9), opset=12, kernel_shape=[2, 2], dilations=[2, 3])
    compare("MaxPool", draw(2, 3, 9), opset=12, kernel_shape=[3], strides=[2])
    compare("AveragePool", draw(2, 3, 4, 4, 4), opset=12, kernel_shape=[2, 2, 2])


def test_global_pools(compare: Compare, draw: Draw) -> None:
    for shape in ((2, 3, 5), (2, 3, 5, 4)):
        compare("GlobalAveragePool", draw(*shape), opset=22)
        compare("GlobalMaxPool", draw(*shape))
