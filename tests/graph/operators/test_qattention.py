from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cake_onnx.errors import UnsupportedTeacherError
from tests.graph.operators.whole_numbers import SCALE, ZERO, X, compare_whole, draw_whole, single

Draw = Callable[..., Any]


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("per_column", [False, True])
def test_attention(causal: int, per_column: bool, draw: Draw) -> None:
    weight, zero = draw_whole(np.int8, 12, 48), np.array(0, dtype=np.int8)
    scale = np.linspace(0.001, 0.003, 48, dtype=np.float32) if per_column else single(0.002)
    zero = np.zeros(48, dtype=np.int8) if per_column else zero
    inputs = [X, weight, draw(48), SCALE, scale, None, ZERO, zero]
    compare_whole("QAttention", inputs, shape=(3, 5, 12), close=1e-5, num_heads=4, unidirectional=causal)


def test_a_mask_hides_tokens(draw: Draw) -> None:
    weight, zero = draw_whole(np.int8, 12, 48), np.array(0, dtype=np.int8)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 0, 1]], dtype=np.int32)
    inputs = [X, weight, draw(48), SCALE, single(0.002), mask, ZERO, zero]
    compare_whole("QAttention", inputs, shape=(3, 5, 12), close=1e-5, num_heads=4, mapped=False)


def test_lengths_are_declined(draw: Draw) -> None:
    weight, zero = draw_whole(np.int8, 12, 48), np.array(0, dtype=np.int8)
    lengths = np.array([5, 3, 4], dtype=np.int32)
    inputs = [X, weight, draw(48), SCALE, single(0.002), lengths, ZERO, zero]
    with pytest.raises(UnsupportedTeacherError, match="a mask of"):
        compare_whole("QAttention", inputs, shape=(3, 5, 12), close=1e-5, num_heads=4, mapped=False)
