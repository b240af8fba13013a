"""com.microsoft QAttention: the projections of an attention layer in whole numbers, the rest in floats."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cake_onnx.graph.operators.integer import is_wide, whole_matmul
from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.quantisation import shifted
from cake_onnx.graph.operators.registry import MICROSOFT, Bound, DeclinedError, Node, operator


@operator("QAttention", since=(1,), domain=MICROSOFT)
def qattention(node: Node) -> Bound:
    """com.microsoft QAttention-1 without a past; its mask, if any, says 1 for each token to look at."""
    if node.has(8) or node.outputs > 1 or node.attribute("past_present_share_buffer", 0):
        raise DeclinedError("keys and values of earlier calls")
    if node.attribute("do_rotary", 0):
        raise DeclinedError("rotary positions")
    mask = node.constant(5)
    if mask is not None and mask.dim() != 2:
        raise DeclinedError(f"a mask of shape {list(mask.shape)}")
    return bind_operands(
        node,
        _attend,
        heads=node.attribute("num_heads"),
        causal=bool(node.attribute("unidirectional", 0)),
        scale=float(node.attribute("scale", 0.0)),
        masked=float(node.attribute("mask_filter_value", -10000.0)),
        wide=is_wide(node.constant(1), node.constant(7), 1),
    )


def _attend(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x_scale: Tensor,
    weight_scale: Tensor,
    mask: Tensor | None = None,
    x_zero: Tensor | None = None,
    weight_zero: Tensor | None = None,
    past: None = None,
    *,
    heads: int,
    causal: bool,
    scale: float,
    masked: float,
    wide: bool | None,
) -> Tensor:
    total = whole_matmul(shifted(x, x_zero), shifted(weight, weight_zero), None, wide)
    joined = total * (x_scale * weight_scale) + bias
    query, key, value = (
        part.unflatten(-1, (heads, -1)).transpose(-2, -3) for part in joined.chunk(3, dim=-1)
    )
    scores = query @ key.transpose(-1, -2) * (scale or 1 / math.sqrt(query.shape[-1]))
    length = x.shape[-2]
    if causal:
        later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(later, masked)
    if mask is not None:
        scores = scores + _bias_of(mask, length, masked)
    result: Tensor = (scores.softmax(dim=-1) @ value).transpose(-2, -3).flatten(-2)
    return result


def _bias_of(mask: Tensor, length: int, masked: float) -> Tensor:
    """What a mask `(B, S)` of ones and zeros adds to scores `(B, heads, S, S)`."""
    if mask.dim() != 2 or mask.shape[1] != length:
        raise DeclinedError(f"a mask of shape {list(mask.shape)}")
    return (1.0 - mask.to(torch.float32)).reshape(mask.shape[0], 1, 1, length) * masked
