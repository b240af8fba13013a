from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from onnx import ModelProto

from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
@pytest.mark.parametrize("opset", [8, 13])
def test_any_number_with_broadcasting(op: str, opset: int, compare: Compare, draw: Draw) -> None:
    compare(op, draw(2, 3), opset=opset)
    compare(op, draw(2, 3), draw(3), opset=opset)
    compare(op, draw(2, 3), draw(2, 1), draw(1, 3), opset=opset)


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
def test_without_broadcasting_before_version_8(
    op: str, compare: Compare, draw: Draw, mapped: Callable[..., None]
) -> None:
    compare(op, draw(2, 3), opset=7)
    compare(op, draw(2, 3), draw(2, 3)[::-1].copy(), opset=7)
    mapped(op, draw(2, 3), draw(3))


def test_version_1_may_say_which_memory_to_use_again(parse: Callable[..., ModelProto]) -> None:
    text = "g (float[B, 3] x) => (float[B, 3] y) { y = Mean<consumed_inputs = [0, 0]>(x, x, x) }"
    x = torch.randn(2, 3)
    torch.testing.assert_close(convert_graph(parse(text, opset=1))(x), x)
