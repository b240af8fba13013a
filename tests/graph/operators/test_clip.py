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
