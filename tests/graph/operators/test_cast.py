from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize("to", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_cast_to_floats(to: int, compare: Compare, draw: Draw) -> None:
    compare("Cast", draw(3, 4), to=to)


@pytest.mark.parametrize("to", [TensorProto.INT32, TensorProto.INT64, TensorProto.INT8])
@pytest.mark.parametrize("opset", [9, 13, 19, 21])
def test_cast_to_integers_truncates_and_passes_a_gradient(
    to: int, opset: int, compare: Compare, draw: Draw
) -> None:
    compare("Cast", draw(3, 4) * 5, to=to, opset=opset)


def test_cast_to_truth(compare: Compare) -> None:
    x = np.array([[0.0, -0.5, 2.0]], dtype=np.float32)
    assert compare("Cast", x, to=TensorProto.BOOL, gradient=False).tolist() == [[False, True, True]]


def test_cast_like(compare: Compare, draw: Draw) -> None:
    compare("CastLike", draw(3, 4) * 5, np.array([1], dtype=np.int32), opset=15)
    compare("CastLike", draw(3, 4), np.array([1], dtype=np.float32), opset=19)
