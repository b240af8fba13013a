from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.operators.rounding import straight_through, towards_zero

Compare = Callable[..., Any]


@pytest.mark.parametrize("op", ["Round", "Floor", "Ceil", "Sign"])
def test_values_are_exact_and_the_gradient_passes(op: str, compare: Compare) -> None:
    x = np.array([[-2.5, -1.5, -0.3, 0.0, 0.5, 1.5, 2.7]], dtype=np.float32)
    compare(op, x)


def test_a_large_difference_does_not_disturb_the_value() -> None:
    x = torch.tensor([1e-8, 0.1], requires_grad=True)
    y = straight_through(x, torch.tensor([1e6, 3.0]))
    assert y.tolist() == [1e6, 3.0]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0]


def test_it_can_be_mapped_over_a_batch() -> None:
    x = torch.randn(4, 3)
    torch.testing.assert_close(torch.vmap(lambda one: straight_through(one, one.round()))(x), x.round())


def test_a_rounding_error_does_not_cost_one() -> None:
    x = torch.tensor([124.99999, -124.99999, 2.9, -2.9, 0.0, 3.0])
    assert towards_zero(x).tolist() == [125.0, -125.0, 2.0, -2.0, 0.0, 3.0]


def test_version_1_of_floor_and_ceil(parse: Callable[..., ModelProto]) -> None:
    for op, wanted in (("Floor", [[1.0, -2.0]]), ("Ceil", [[2.0, -1.0]])):
        text = f"g (float[B, 2] x) => (float[B, 2] y) {{ y = {op}<consumed_inputs = [0]>(x) }}"
        assert convert_graph(parse(text, opset=1))(torch.tensor([[1.5, -1.5]])).tolist() == wanted
