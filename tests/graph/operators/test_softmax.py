from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [None, 1, 2, -1])
@pytest.mark.parametrize("opset", [7, 11, 13])
def test_softmax(op: str, axis: int | None, opset: int, compare: Compare, draw: Draw) -> None:
    attributes = {} if axis is None or (axis < 0 and opset < 11) else {"axis": axis}
    compare(op, draw(2, 3, 4), opset=opset, **attributes)
