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
Parse = Callable[..., ModelProto]


@pytest.mark.parametrize("opset", [7, 11, 22])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 2], "output_padding": [1, 1], "pads": [1, 1, 1, 1]},
        {"strides": [3, 2], "pads": [1, 0, 2, 1]},
        {"strides": [2, 2], "pads": [0, 1, 1, 0], "output_padding": [1, 0]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [4, 5]},
        {"auto_pad": "VALID", "strides": [2, 2]},
        {"strides": [3, 2], "output_shape": [11, 8], "auto_pad": "SAME_UPPER"},
        {"strides": [3, 2], "output_shape": [11, 7]},
        {"strides": [3, 2], "output_shape": [13, 9], "output_padding": [1, 1]},
        {"dilations": [2, 3], "kernel_shape": [3, 2]},
    ],
)
def test_conv_transpose(opset: int, attributes: dict[str, Any], compare: Compare, draw: Draw) -> None:
    compare("ConvTranspose", draw(2, 3, 4, 4), draw(3, 5, 3, 2), draw(5), opset=opset, **attributes)
    compare("ConvTranspose", draw(2, 4, 4, 4), draw(4, 2, 3, 2), opset=opset, group=2, **attributes)


def test_ranks(compare: Compare, draw: Draw) -> None:
    compare("ConvTranspose", draw(2, 3, 5), draw(3, 2, 3), draw(2), strides=[2])
    compare("ConvTranspose", draw(2, 3, 3, 3, 3), draw(3, 2, 2, 2, 2), pads=[0, 1, 0, 1, 0, 0])


@pytest.mark.parametrize("attributes", ["group = 1", "pads = [1, 0, 0, 1], strides = [2, 2]"])
def test_a_stored_weight_becomes_a_layer_others_can_find(attributes: str, parse: Parse, draw: Draw) -> None:
    text = f"g (float[B, 2, 5, 5] x) => (float y) {{ y = ConvTranspose<{attributes}>(x, k, b) }}"
    module = convert_graph(parse(text, k=draw(2, 3, 3, 3), b=draw(3)))
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in module.modules()) == 1


def test_a_computed_weight(parse: Parse, draw: Draw) -> None:
    model = parse(
        """g (float[1, 2, 5, 5] x) => (float y) {
             m = ReduceMean(x)
             w = Mul(k, m)
             y = ConvTranspose<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w, b)
        }""",
        k=draw(2, 3, 3, 3),
        b=draw(3),
    )
    x = torch.from_numpy(draw(1, 2, 5, 5))
    weight = torch.from_numpy(draw(2, 3, 3, 3)) * x.mean()
    wanted = nn.functional.conv_transpose2d(x, weight, torch.from_numpy(draw(3)), padding=1)
    torch.testing.assert_close(convert_graph(model)(x), wanted, rtol=1e-4, atol=1e-5)
