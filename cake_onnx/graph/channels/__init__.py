"""Which channels of a graph belong together, and the graph without some of them."""

from __future__ import annotations

from cake_onnx.graph.channels import movement, pointwise, products, recurrent  # registers the rules
from cake_onnx.graph.channels.follow import Channels, follow_channels
from cake_onnx.graph.channels.layers import Layers, layers_of
from cake_onnx.graph.channels.narrow import narrow
from cake_onnx.graph.channels.plan import narrowest, next_drops, plan_widths
from cake_onnx.graph.channels.sizes import Goal, Sizes, Widths

__all__ = [
    "Channels",
    "Goal",
    "Layers",
    "Sizes",
    "Widths",
    "follow_channels",
    "layers_of",
    "movement",
    "narrow",
    "narrowest",
    "next_drops",
    "plan_widths",
    "pointwise",
    "products",
    "recurrent",
]
