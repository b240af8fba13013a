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
MICROSOFT = "com.microsoft"


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [None, 1, 2, -1])
@pytest.mark.parametrize("opset", [7, 11, 13])
def test_softmax(op: str, axis: int | None, opset: int, compare: Compare, draw: Draw) -> None:
    attributes = {} if axis is None or (axis < 0 and opset < 11) else {"axis": axis}
    compare(op, draw(2, 3, 4), opset=opset, **attributes)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str, compare: Compare, draw: Draw) -> None:
    compare("Gelu", draw(3, 4), opset=20, approximate=approximate)


def test_microsofts_own(compare: Compare, draw: Draw) -> None:
    compare("Gelu", draw(3, 4), domain=MICROSOFT)
    compare("BiasGelu", draw(3, 4), draw(4), domain=MICROSOFT)
    compare("FastGelu", draw(3, 4), draw(4), domain=MICROSOFT)
    compare("FastGelu", draw(3, 4), domain=MICROSOFT)
    compare("QuickGelu", draw(3, 4), domain=MICROSOFT, alpha=1.5)


@pytest.mark.parametrize(
    ("op", "opsets"),
    [
        ("Relu", (7, 13, 14)),
        ("Sigmoid", (7, 13)),
        ("Tanh", (7, 13)),
        ("Mish", (18, 22)),
        ("HardSwish", (14, 22)),
        ("HardSigmoid", (7, 22)),
        ("Elu", (7, 22)),
        ("Selu", (7, 22)),
        ("Softplus", (7, 22)),
        ("Softsign", (7, 22)),
        ("LeakyRelu", (7, 16)),
        ("Erf", (9, 13)),
        ("Sin", (7, 22)),
        ("Cos", (7, 22)),
    ],
)
def test_element_by_element(op: str, opsets: tuple[int, ...], compare: Compare, draw: Draw) -> None:
    for opset in opsets:
        compare(op, draw(3, 4), opset=opset)


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
