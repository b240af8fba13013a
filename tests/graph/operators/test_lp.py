from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]
Parse = Callable[..., ModelProto]


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize(
    "window",
    [
        {},
        {"strides": [2, 2], "pads": [1, 0, 1, 1]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"},
    ],
)
def test_lp_pool(p: int, window: dict[str, Any], compare: Compare, draw: Draw) -> None:
    for opset in (2, 11, 18, 22):
        compare("LpPool", draw(2, 3, 7, 8), opset=opset, kernel_shape=[3, 2], p=p, **window)


def test_gaps_and_overhang(compare: Compare, draw: Draw) -> None:
    compare("LpPool", draw(2, 3, 8, 8), opset=18, kernel_shape=[3, 2], dilations=[2, 3], p=3)
    compare("LpPool", draw(2, 3, 8, 8), opset=18, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)


def test_global_lp_pool(compare: Compare, parse: Parse, draw: Draw) -> None:
    for p in (1, 2, 3):
        wanted = compare("GlobalLpPool", draw(2, 3, 5, 4), opset=2, p=p)
        # onnxruntime lacks the newest version, which says the same.
        text = f"g (float[B, 3, 5, 4] x) => (float y) {{ y = GlobalLpPool<p = {p}>(x) }}"
        found = convert_graph(parse(text, opset=22))(torch.from_numpy(draw(2, 3, 5, 4)))
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4)


@pytest.mark.parametrize("opset", [1, 22])
@pytest.mark.parametrize("p", [1, 2])
def test_lp_normalization(opset: int, p: int, compare: Compare, draw: Draw) -> None:
    x = draw(2, 3, 4)
    x[0, 1] = 0.0
    for axis in (0, 1, -1):
        compare("LpNormalization", x, opset=opset, p=p, axis=axis)


@pytest.mark.parametrize("call", ["LpPool<kernel_shape = [2]>", "GlobalLpPool", "LpNormalization"])
def test_zeros_have_a_finite_gradient(call: str, parse: Parse) -> None:
    module = convert_graph(parse(f"g (float[B, 2, 4] x) => (float y) {{ y = {call}(x) }}", opset=22))
    x = torch.zeros(1, 2, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(module(x).sum(), x)
    assert np.isfinite(slope.numpy()).all()
