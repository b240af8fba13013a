from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]

OPERATORS = {
    **dict.fromkeys(["Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal"], (7, 13)),
    "Erf": (9, 13),
    **dict.fromkeys(["Sin", "Cos", "Tan", "Asin", "Acos", "Atan"], (7, 22)),
    **dict.fromkeys(["Sinh", "Cosh", "Asinh", "Atanh"], (9, 22)),
}


@pytest.mark.parametrize("op", OPERATORS)
def test_values_and_gradients(op: str, compare: Compare, mapped: Callable[..., None]) -> None:
    x = np.random.default_rng(0).uniform(0.1, 0.9, (2, 5)).astype(np.float32)
    for opset in OPERATORS[op]:
        compare(op, x, opset=opset)
    mapped(op, x)


def test_acosh(compare: Compare) -> None:
    for opset in (9, 22):
        compare("Acosh", np.array([[1.0, 1.5, 7.0]], dtype=np.float32), opset=opset)


def test_version_1_may_say_which_memory_to_use_again(parse: Callable[..., ModelProto]) -> None:
    text = "g (float[B, 3] x) => (float[B, 3] y) { y = Exp<consumed_inputs = [0]>(x) }"
    x = torch.randn(2, 3)
    torch.testing.assert_close(convert_graph(parse(text, opset=1))(x), x.exp())


@pytest.mark.parametrize(
    "text",
    [
        "y = Sqrt(q)",
        "l = Log(q)\n e = Exp(l)\n y = Identity(e)",
        "s = Add(q, one)\n y = Acos(s)",
        "s = Sub(q, one)\n y = Asin(s)",
        "s = Add(q, one)\n y = Acosh(s)",
    ],
)
def test_an_infinite_slope_does_not_become_nan(text: str, parse: Callable[..., ModelProto]) -> None:
    model = parse(
        f"g (float[B, 3] x) => (float[B, 3] y) {{ q = Mul(x, x)\n {text} }}",
        one=np.array(1, dtype=np.float32),
    )
    x = torch.zeros(1, 3, requires_grad=True)
    y = convert_graph(model)(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 0.0, 0.0]]
