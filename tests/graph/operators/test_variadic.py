from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
@pytest.mark.parametrize("opset", [8, 13])
def test_any_number_with_broadcasting(op: str, opset: int, compare: Compare, draw: Draw) -> None:
    compare(op, draw(2, 3), opset=opset)
    compare(op, draw(2, 3), draw(3), opset=opset)
    compare(op, draw(2, 3), draw(2, 1), draw(1, 3), opset=opset)
