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


@pytest.mark.parametrize(("op", "opset"), [("CumSum", 11), ("CumSum", 14), ("CumProd", 26)])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_directions(
    op: str,
    opset: int,
    exclusive: int,
    reverse: int,
    compare: Compare,
    draw: Draw,
    mapped: Callable[..., None],
) -> None:
    for axis in (1, 2, -1):
        stored = np.array(axis, dtype=np.int64)
        compare(op, draw(2, 3, 4), stored, opset=opset, exclusive=exclusive, reverse=reverse)
        mapped(op, draw(2, 3, 4), stored, opset=opset, exclusive=exclusive, reverse=reverse)


def test_it_adds_up_from_the_front_unless_told(compare: Compare) -> None:
    x = np.array([[1.0, 2.0, 3.0]], dtype=np.float32)
    assert compare("CumSum", x, np.array(1, dtype=np.int32)).tolist() == [[1.0, 3.0, 6.0]]


def test_a_computed_axis_is_declined(parse: Callable[..., ModelProto]) -> None:
    text = "g (float[B, 3] x) => (float[B, 3] y) { a = Size(x)\n y = CumSum(x, a) }"
    with pytest.raises(UnsupportedTeacherError, match="a computed axis"):
        convert_graph(parse(text))
