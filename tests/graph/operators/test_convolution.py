from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from onnx import ModelProto
from torch import nn

from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize("opset", [7, 11, 22])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 1, 1, 1]},
        {"pads": [0, 2, 1, 0]},
        {"strides": [2, 1], "dilations": [1, 2]},
        {"auto_pad": "VALID"},
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
        {"auto_pad": "NOTSET", "pads": [1, 0, 1, 0], "kernel_shape": [3, 2]},
    ],
)
def test_conv(opset: int, attributes: dict[str, Any], compare: Compare, draw: Draw) -> None:
    compare("Conv", draw(2, 3, 7, 8), draw(4, 3, 3, 2), draw(4), opset=opset, **attributes)


def test_groups_and_ranks(compare: Compare, draw: Draw) -> None:
    compare("Conv", draw(2, 4, 6, 6), draw(4, 1, 3, 3), group=4)
    compare("Conv", draw(2, 3, 9), draw(4, 3, 3), draw(4), pads=[1, 0])
    compare("Conv", draw(1, 2, 4, 4, 4), draw(3, 2, 2, 2, 2), draw(3))


def test_a_stored_weight_becomes_a_layer_others_can_find(
    parse: Callable[..., ModelProto], draw: Draw
) -> None:
    model = parse(
        "g (float[B, 1, 5, 5] x) => (float y) { y = Conv<pads = [1, 1, 1, 1]>(x, k) }", k=draw(2, 1, 3, 3)
    )
    layers = [module for module in convert_graph(model).modules() if isinstance(module, nn.Conv2d)]
    assert len(layers) == 1
    assert layers[0].padding == (1, 1)


def test_a_computed_weight(parse: Callable[..., ModelProto], draw: Draw) -> None:
    model = parse(
        """g (float[1, 1, 5, 5] x) => (float y) {
             m = ReduceMean(x)
             w = Mul(k, m)
             y = Conv<auto_pad = "SAME_UPPER">(x, w)
        }""",
        k=draw(2, 1, 3, 3),
    )
    x = torch.from_numpy(draw(1, 1, 5, 5))
    weight = torch.from_numpy(draw(2, 1, 3, 3)) * x.mean()
    torch.testing.assert_close(convert_graph(model)(x), nn.functional.conv2d(x, weight, padding=1))
