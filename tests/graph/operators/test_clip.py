from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch import nn

from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]


def test_clip(compare: Compare, draw: Draw) -> None:
    low, high = np.array(-0.5, dtype=np.float32), np.array(0.7, dtype=np.float32)
    for opset in (11, 12, 13):
        compare("Clip", draw(3, 4), low, high, opset=opset)
        compare("Clip", draw(3, 4), None, high, opset=opset)
        compare("Clip", draw(3, 4), low, opset=opset)
        compare("Clip", draw(3, 4), opset=opset)
    compare("Clip", draw(3, 4), opset=7, min=-0.5, max=0.7)


@pytest.mark.parametrize("limits", ["m, high", "m", ", m"])
def test_clip_with_a_computed_limit(limits: str, parse: Callable[..., ModelProto], draw: Draw) -> None:
    text = (
        f"g (float[B, 4] x) => (float[B, 4] y) {{ m = ReduceMean<keepdims = 0>(x)\n y = Clip(x, {limits}) }}"
    )
    if limits.startswith(","):
        text = text.replace("Clip(x, , m)", 'Clip(x, "", m)')
    model = parse(text, high=np.array(0.6, dtype=np.float32))
    x = torch.from_numpy(draw(3, 4))
    mean = x.mean()
    wanted = {"m, high": x.clamp(mean, torch.tensor(0.6)), "m": x.clamp(min=mean), ", m": x.clamp(max=mean)}
    torch.testing.assert_close(convert_graph(model)(x), wanted[limits])


def test_integers_stay_integers(parse: Callable[..., ModelProto]) -> None:
    text = "g (int8[B, 3] x) => (int8[B, 3] y) { y = Clip(x, low) }"
    model = parse(text, low=np.array(-1, dtype=np.int8))
    found = convert_graph(model)(torch.tensor([[-5, 0, 100]], dtype=torch.int8))
    assert found.dtype == torch.int8
    assert found.tolist() == [[-1, 0, 100]]


def test_version_1(parse: Callable[..., ModelProto]) -> None:
    text = "g (float[B, 3] x) => (float[B, 3] y) { y = Clip<max = 1.0, consumed_inputs = [0]>(x) }"
    assert convert_graph(parse(text, opset=1))(torch.tensor([[-5.0, 0.0, 100.0]])).tolist() == [[-5, 0, 1]]


def test_from_0_to_6_is_the_activation_of_torch(parse: Callable[..., ModelProto]) -> None:
    """Its gradient is that of the others wherever they have one: within the limits, and nowhere else."""
    text = "g (float[B, 5] x) => (float[B, 5] y) { y = Clip(x, low, high) }"
    limits = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    models = [
        parse(text, **limits),
        parse("g (float[B, 5] x) => (float[B, 5] y) { y = Clip<min = 0.0, max = 6.0>(x) }", opset=7),
    ]
    for model in models:
        module = convert_graph(model)
        assert any(isinstance(part, nn.ReLU6) for part in module.modules())
        x = torch.tensor([[-1.0, 0.5, 3.0, 5.9, 6.5]], requires_grad=True)
        y = module(x)
        assert torch.equal(y, x.clamp(0, 6))
        assert torch.autograd.grad(y.sum(), x)[0].tolist() == [[0, 1, 1, 1, 0]]


def test_whole_numbers_from_0_to_6_stay_whole(parse: Callable[..., ModelProto]) -> None:
    text = "g (int32[B, 3] x) => (int32[B, 3] y) { y = Clip(x, low, high) }"
    model = parse(text, low=np.array(0, np.int32), high=np.array(6, np.int32))
    found = convert_graph(model)(torch.tensor([[-5, 3, 100]], dtype=torch.int32))
    assert found.dtype == torch.int32
    assert found.tolist() == [[0, 3, 6]]
