"""Attention, MultiHeadAttention: what onnxruntime's optimiser makes of transformers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cake_onnx.graph.operators.attention import attend, join_heads, split_heads
from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.registry import MICROSOFT, Bound, DeclinedError, Node, operator


@dataclass(frozen=True)
class Settings:
    """Attributes that both operators have.

    Attributes:
        heads: Number of heads.
        scale: Factor of the scores, 0 for `1 / sqrt(D)`.
        causal: No look at later keys.
        masked: What is added to the scores of masked keys.
        sizes: Width of queries, keys and values, None for a third each.
        outputs: How many outputs the node has.
    """

    heads: int
    scale: float
    causal: bool
    masked: float
    sizes: tuple[int, ...] | None
    outputs: int


@operator("Attention", since=(1,), domain=MICROSOFT)
def attention(node: Node) -> Bound:
    """com.microsoft Attention-1: one projection to queries, keys and values, then attention."""
    if node.attribute("do_rotary", 0):
        raise DeclinedError("rotary positions inside Attention")
    if node.attribute("past_present_share_buffer", 0) or node.has(6):
        raise DeclinedError("keys and values of earlier calls in a shared buffer")
    node.ignore("rotary_embedding_dim")
    _check_mask(node, 3)
    sizes = node.attribute("qkv_hidden_sizes")
    return bind_operands(node, _attention, settings=_settings(node, sizes))


@operator("MultiHeadAttention", since=(1,), domain=MICROSOFT)
def multi_head_attention(node: Node) -> Bound:
    """com.microsoft MultiHeadAttention-1: queries, keys and values are projected already."""
    if any(node.has(index) for index in range(8, len(node.inputs))) or node.outputs > 3:
        raise DeclinedError("a cache for decoding")
    if not node.has(1) or not node.has(2):
        raise DeclinedError("queries, keys and values packed into one tensor")
    _check_mask(node, 4)
    return bind_operands(node, _multi_head_attention, settings=_settings(node, None))


def _check_mask(node: Node, index: int) -> None:
    """A mask of 4 axes is for graphics cards only, so nothing can judge what is made of it here."""
    mask = node.constant(index)
    if mask is not None and mask.dim() > 3:
        raise DeclinedError(f"a mask of shape {list(mask.shape)}")


def _settings(node: Node, sizes: list[int] | None) -> Settings:
    return Settings(
        node.attribute("num_heads"),
        float(node.attribute("scale", 0.0)),
        bool(node.attribute("unidirectional", 0)),
        float(node.attribute("mask_filter_value", -10000.0)),
        None if not sizes else tuple(sizes),
        node.outputs,
    )


def _attention(
    x: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    past: Tensor | None = None,
    attention_bias: Tensor | None = None,
    *,
    settings: Settings,
) -> Tensor | tuple[Tensor, ...]:
    joined = x @ weights if bias is None else x @ weights + bias
    parts = joined.split(settings.sizes or [joined.shape[-1] // 3] * 3, dim=-1)
    query, key, value = (split_heads(part, settings.heads) for part in parts)
    earlier = 0 if past is None else past.shape[3]
    if past is not None:
        key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
    mixed = _mix(query, key, value, mask, attention_bias, earlier, settings)
    return mixed if settings.outputs == 1 else (mixed, torch.stack([key, value]))


def _multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    *,
    settings: Settings,
) -> Tensor | tuple[Tensor, ...]:
    query = split_heads(query, settings.heads)
    # Of cross attention they can come by head already.
    key = key if key.dim() == 4 else split_heads(key, settings.heads)
    value = value if value.dim() == 4 else split_heads(value, settings.heads)
    if bias is not None:
        widths = [part.shape[1] * part.shape[3] for part in (query, key, value)]
        added = [split_heads(part.unsqueeze(0), settings.heads) for part in bias.split(widths)]
        query, key, value = query + added[0], key + added[1], value + added[2]
    earlier = 0 if past_key is None else past_key.shape[2]
    if past_key is not None and past_value is not None:
        key, value = torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2)
    mixed = _mix(query, key, value, mask, attention_bias, earlier, settings)
    return mixed if settings.outputs == 1 else (mixed, key, value)[: settings.outputs]


def _mix(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    attention_bias: Tensor | None,
    earlier: int,
    settings: Settings,
) -> Tensor:
    queries, keys = query.shape[2], key.shape[2]
    bias = attention_bias
    if mask is not None:
        seen = _seen(mask, len(query), keys)
        added = torch.where(seen, 0.0, settings.masked)
        bias = added if bias is None else bias + added
    allowed = None
    if settings.causal:
        if keys > queries + earlier:
            # onnxruntime's result there follows no rule that its documentation gives.
            raise DeclinedError("causal attention to more keys than queries")
        allowed = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(earlier)
    scale = settings.scale or 1 / math.sqrt(query.shape[-1])
    mixed, _ = attend(query, key, value, scale, allowed=allowed, bias=bias)
    return join_heads(mixed)


def _seen(mask: Tensor, batch: int, keys: int) -> Tensor:
    """Which keys count, broadcast to `(B, heads, S, T)`, from any of the forms of a mask."""
    place = torch.arange(keys, device=mask.device)
    if mask.dim() == 1 and len(mask) == batch:
        return place < mask.reshape(-1, 1, 1, 1)
    if mask.dim() == 1 and len(mask) == 2 * batch:
        ends, starts = mask.reshape(2, -1, 1, 1, 1).unbind(0)
        return torch.logical_and(place < ends, place >= starts)
    if mask.dim() == 2:
        return mask[:, None, None, :] > 0
    if mask.dim() == 3:
        return mask[:, None] > 0
    raise DeclinedError(f"a mask of shape {list(mask.shape)}")
