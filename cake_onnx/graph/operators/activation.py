"""Activations that onnx2torch lacks, or has for old versions only."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.graph.operators.registry import MICROSOFT, Apply, Bound, DeclinedError, Node, operator


@operator("Softmax", since=(1, 11))
@operator("LogSoftmax", since=(1, 11))
def softmax_1(node: Node) -> Bound:
    """ONNX Softmax-11: over everything from `axis` on, as if flattened to two axes."""
    log = node.op_type == "LogSoftmax"
    return node.bind(Apply(_flat_softmax, axis=node.attribute("axis", 1), log=log), 0)


def _flat_softmax(x: Tensor, axis: int, log: bool) -> Tensor:
    rows = math.prod(x.shape[: axis % x.dim()])
    flat = x.reshape(rows, -1)
    return (flat.log_softmax(1) if log else flat.softmax(1)).reshape(x.shape)


@operator("Softmax", since=(13,))
@operator("LogSoftmax", since=(13,))
def softmax_13(node: Node) -> Bound:
    """ONNX Softmax-13: over one axis, the last unless said."""
    axis = node.attribute("axis", -1)
    return node.bind(nn.LogSoftmax(axis) if node.op_type == "LogSoftmax" else nn.Softmax(axis), 0)


@operator("Gelu", since=(20,))
def gelu(node: Node) -> Bound:
    """ONNX Gelu-20: exact, or the tanh approximation."""
    approximate = node.attribute("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise DeclinedError(f"approximate={approximate}")
    return node.bind(nn.GELU(approximate), 0)


@operator("Gelu", since=(1,), domain=MICROSOFT)
def microsoft_gelu(node: Node) -> Bound:
    """onnxruntime contrib operator Gelu: exact."""
    return node.bind(nn.GELU(), 0)


@operator("BiasGelu", since=(1,), domain=MICROSOFT)
@operator("FastGelu", since=(1,), domain=MICROSOFT)
def microsoft_biased_gelu(node: Node) -> Bound:
    """onnxruntime contrib operators BiasGelu (exact) and FastGelu (tanh), bias in front."""
    approximate = "tanh" if node.op_type == "FastGelu" else "none"
    return node.bind(Apply(_biased_gelu, approximate=approximate), 0, 1)


def _biased_gelu(x: Tensor, bias: Tensor | None = None, *, approximate: str) -> Tensor:
    return functional.gelu(x if bias is None else x + bias, approximate=approximate)


@operator("QuickGelu", since=(1,), domain=MICROSOFT)
def microsoft_quick_gelu(node: Node) -> Bound:
    """onnxruntime contrib operator QuickGelu: x · sigmoid(alpha·x)."""
    return node.bind(Apply(_swish, alpha=float(node.attribute("alpha", 1.702))), 0)


@operator("Swish", since=(24,))
def swish(node: Node) -> Bound:
    """ONNX Swish-24: x · sigmoid(alpha·x)."""
    return node.bind(Apply(_swish, alpha=float(node.attribute("alpha", 1.0))), 0)


def _swish(x: Tensor, alpha: float) -> Tensor:
    return x * torch.sigmoid(alpha * x)


@operator("Mish", since=(18, 22))
def mish(node: Node) -> Bound:
    """ONNX Mish-18."""
    return node.bind(nn.Mish(), 0)


@operator("Clip", since=(6,))
def clip_6(node: Node) -> Bound:
    """ONNX Clip-6: limits are attributes."""
    low, high = node.attribute("min", -math.inf), node.attribute("max", math.inf)
    return node.bind(Apply(torch.clamp, min=low, max=high), 0)


@operator("Clip", since=(11, 12, 13))
def clip_11(node: Node) -> Bound:
    """ONNX Clip-13: limits are optional inputs, stored or computed."""
    low, high = node.constant(1), node.constant(2)
    if (node.has(1) and low is None) or (node.has(2) and high is None):
        if not (node.has(1) and node.has(2)):
            return node.bind(Apply(torch.maximum if node.has(1) else torch.minimum), 0, 1, 2)
        return node.bind(Apply(_clip_computed), 0, 1, 2)
    limits = {name: float(value) for name, value in (("min", low), ("max", high)) if value is not None}
    return node.bind(Apply(torch.clamp, **limits) if limits else nn.Identity(), 0)


def _clip_computed(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, low), high)
