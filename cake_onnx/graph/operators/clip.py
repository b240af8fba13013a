"""Clip: limits as attributes, stored or computed; the element type of the input stays."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cake_onnx.graph.operators.registry import Apply, Bound, Node, operator


@operator("Clip", since=(1, 6))
def clip_6(node: Node) -> Bound:
    """ONNX Clip-6: limits are attributes."""
    node.ignore("consumed_inputs")
    low, high = node.attribute("min", -math.inf), node.attribute("max", math.inf)
    return node.bind(_clip(min=low, max=high), 0)


@operator("Clip", since=(11, 12, 13))
def clip_11(node: Node) -> Bound:
    """ONNX Clip-13: limits are optional inputs, stored or computed."""
    low, high = node.constant(1), node.constant(2)
    if (node.has(1) and low is None) or (node.has(2) and high is None):
        if not (node.has(1) and node.has(2)):
            return node.bind(Apply(torch.maximum if node.has(1) else torch.minimum), 0, 1, 2)
        return node.bind(Apply(_clip_computed), 0, 1, 2)
    # Of an integer limit `item` makes an integer, and clamping keeps integers then.
    limits = {name: value.item() for name, value in (("min", low), ("max", high)) if value is not None}
    return node.bind(_clip(**limits) if limits else nn.Identity(), 0)


def _clip(**limits: float) -> nn.Module:
    # torch has one kernel for the gradient of this one, four for that of others. It has none at the limits:
    # inputs of the network, which often lie at limits, are not clipped at 6.
    if limits == {"min": 0.0, "max": 6.0} and isinstance(limits["max"], float):
        return nn.ReLU6()
    return Apply(torch.clamp, **limits)


def _clip_computed(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, low), high)
