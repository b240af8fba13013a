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


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str, compare: Compare, draw: Draw) -> None:
    compare("Gelu", draw(3, 4), opset=20, approximate=approximate)


def test_microsofts_own(compare: Compare, draw: Draw) -> None:
    compare("Gelu", draw(3, 4), domain=MICROSOFT)
    compare("BiasGelu", draw(3, 4), draw(4), domain=MICROSOFT)
    compare("FastGelu", draw(3, 4), draw(4), domain=MICROSOFT)
    compare("FastGelu", draw(3, 4), domain=MICROSOFT)
    compare("QuickGelu", draw(3, 4), domain=MICROSOFT, alpha=1.5)


PLAIN = {
    "Relu": (7, 13, 14),
    "Sigmoid": (7, 13),
    "Tanh": (7, 13),
    "Softplus": (7, 22),
    "Softsign": (7, 22),
    "HardSwish": (14, 22),
    "Mish": (18, 22),
    "LeakyRelu": (7, 16),
    "ThresholdedRelu": (10, 22),
    "Shrink": (9,),
    "Elu": (7, 22),
    "Selu": (7, 22),
    "Celu": (12, 28),
    "HardSigmoid": (7, 22),
}


@pytest.mark.parametrize("op", PLAIN)
def test_defaults(op: str, compare: Compare, draw: Draw, mapped: Callable[..., None]) -> None:
    for opset in PLAIN[op]:
        compare(op, draw(3, 4) * 2, opset=opset)
    mapped(op, draw(3, 4), opset=PLAIN[op][-1])


@pytest.mark.parametrize(
    ("op", "constants"),
    [
        ("LeakyRelu", {"alpha": 0.2}),
        ("ThresholdedRelu", {"alpha": 0.3}),
        ("Shrink", {"bias": 0.2, "lambd": 0.4}),
        ("Elu", {"alpha": 0.3}),
        ("Selu", {"alpha": 2.0, "gamma": 3.0}),
        ("Celu", {"alpha": 0.7}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("Swish", {"alpha": 0.5}),
    ],
)
def test_constants(op: str, constants: dict[str, float], compare: Compare, draw: Draw) -> None:
    compare(op, draw(3, 4) * 2, opset=24, **constants)


def test_slopes_broadcast(compare: Compare, draw: Draw, mapped: Callable[..., None]) -> None:
    x = draw(2, 3, 4)
    for opset in (7, 9, 16):
        for shape in ((1,), (4,), (3, 1), (3, 4), (1, 1, 1)):
            compare("PRelu", x, draw(*shape), opset=opset)
    mapped("PRelu", x, draw(3, 1))


@pytest.mark.parametrize("opset", [1, 6])
def test_one_slope_a_channel_in_old_versions(
    opset: int, parse: Callable[..., ModelProto], draw: Draw
) -> None:
    text = "g (float[2, 3, 4, 5] x) => (float[2, 3, 4, 5] y) { y = PRelu(x, slope) }"
    x, slope = torch.from_numpy(draw(2, 3, 4, 5)), draw(3)
    wanted = torch.nn.functional.prelu(x, torch.from_numpy(slope))
    torch.testing.assert_close(convert_graph(parse(text, opset=opset, slope=slope))(x), wanted)
    shared = torch.nn.functional.prelu(x, torch.tensor([0.5]))
    model = parse(text, opset=opset, slope=np.array([0.5], dtype=np.float32))
    torch.testing.assert_close(convert_graph(model)(x), shared)


def test_selu_of_version_1_has_shorter_constants(parse: Callable[..., ModelProto]) -> None:
    text = "g (float[B, 2] x) => (float[B, 2] y) { y = Selu<consumed_inputs = [0]>(x) }"
    found = convert_graph(parse(text, opset=1))(torch.tensor([[1.0, -100.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.0507, -1.6732 * 1.0507]]))
