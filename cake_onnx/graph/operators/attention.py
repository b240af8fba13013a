"""Attention as ONNX defines it, and the mathematics that all attention operators share."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.registry import Bound, DeclinedError, Node, operator

_MANY = 64
"""Queries of a head from which on torch's own attention is quicker on a processor."""


@dataclass(frozen=True)
class Settings:
    """Attributes of an Attention node.

    Attributes:
        query_heads: Heads of the queries, where they come as `(B, S, heads * D)`.
        key_heads: Heads of keys and values, likewise.
        scale: Factor of the scores, None for `1 / sqrt(D)`.
        softcap: Bound of the scores, 0 for none.
        causal: No look at later keys.
        window: Keys before and after a query that it can see; -1 for all of them.
        shown: Which stage of the scores the fourth output gives, 0 to 3.
        outputs: How many outputs the node has.
    """

    query_heads: int
    key_heads: int
    scale: float | None
    softcap: float
    causal: bool
    window: tuple[int, int]
    shown: int
    outputs: int


@operator("Attention", since=(23, 24, 25))
def attention(node: Node) -> Bound:
    """ONNX Attention-25: grouped heads, masks, caches, windows, all four outputs."""
    node.ignore("softmax_precision")  # everything is float32 here
    shown = node.attribute("qk_matmul_output_mode", 0)
    if shown not in (0, 1, 2, 3):
        raise DeclinedError(f"qk_matmul_output_mode {shown}")
    settings = Settings(
        node.attribute("q_num_heads", 0),
        node.attribute("kv_num_heads", 0),
        node.attribute("scale"),
        float(node.attribute("softcap", 0.0)),
        bool(node.attribute("is_causal", 0)),
        (node.attribute("left_window_size", -1), node.attribute("right_window_size", -1)),
        shown,
        node.outputs,
    )
    return bind_operands(node, _attention, settings=settings)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    lengths: Tensor | None = None,
    *,
    settings: Settings,
) -> Tensor | tuple[Tensor, ...]:
    query, key, value = _same_type(query, key, value)
    joined = query.dim() == 3
    if joined:
        query = split_heads(query, settings.query_heads)
        key, value = split_heads(key, settings.key_heads), split_heads(value, settings.key_heads)
    if past_key is not None and past_value is not None:
        key = torch.cat([past_key.to(key.dtype), key], dim=2)
        value = torch.cat([past_value.to(value.dtype), value], dim=2)
    past = 0 if past_key is None else past_key.shape[2]
    allowed = _allowed(query.shape[2], key.shape[2], past, lengths, settings, query.device)
    bias = None
    if mask is not None:
        mask_allowed, bias = _read_mask(mask, key.shape[2])
        allowed = mask_allowed if allowed is None else allowed & mask_allowed
    group = query.shape[1] // key.shape[1]
    scale = settings.scale or 1 / math.sqrt(query.shape[-1])
    bare = allowed is None and bias is None and not settings.softcap and settings.outputs == 1
    if bare and query.shape[:2] == key.shape[:2] == value.shape[:2] and _in_one_step(query):
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=scale)
        return join_heads(mixed) if joined else mixed
    mixed, stages = attend(
        query,
        key.repeat_interleave(group, dim=1),
        value.repeat_interleave(group, dim=1),
        scale,
        allowed=allowed,
        bias=bias,
        softcap=settings.softcap,
    )
    outputs = (join_heads(mixed) if joined else mixed, key, value, stages[settings.shown])
    return outputs[0] if settings.outputs == 1 else outputs[: settings.outputs]


def _in_one_step(x: Tensor) -> bool:
    """Whether torch's own attention is better than product, softmax and product, for queries `x`.

    On a processor it is up to twice as quick from some 64 queries on, but slower for fewer; in half precision
    its gradient takes 2 to 9 times as long. On a GPU its gradient is not the same in two runs.
    """
    half = x.dtype in (torch.float16, torch.bfloat16) or torch.is_autocast_enabled(x.device.type)
    return x.device.type == "cpu" and not half and x.shape[-2] >= _MANY


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    *,
    allowed: Tensor | None = None,
    bias: Tensor | None = None,
    softcap: float = 0.0,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Attention by heads.

    Args:
        query: `(B, heads, S, D)`.
        key: `(B, heads, T, D)`.
        value: `(B, heads, T, V)`.
        scale: Factor of the scores.
        allowed: Where a query may look, broadcast to `(B, heads, S, T)`. One that may look nowhere gives 0.
        bias: What is added to the scores, broadcast likewise.
        softcap: Bound of the scores before the bias, 0 for none.

    Returns:
        `(B, heads, S, V)`, and the scores `(B, heads, S, T)` in four stages: scaled products, bounded,
        with bias and masks, probabilities.
    """
    products = (query * scale) @ key.transpose(-1, -2)
    bounded = softcap * torch.tanh(products / softcap) if softcap > 0 else products
    biased = bounded if bias is None else bounded + bias
    if allowed is None:
        probabilities = biased.softmax(dim=-1)
    else:
        biased = torch.where(allowed, biased, torch.full_like(biased, -math.inf))
        blind = ~allowed.any(dim=-1, keepdim=True)
        # A softmax over nothing but -inf has neither a value nor a gradient.
        safe = torch.where(blind, torch.zeros_like(biased), biased).softmax(dim=-1)
        probabilities = torch.where(blind, torch.zeros_like(safe), safe)
    return probabilities @ value, (products, bounded, biased, probabilities)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`(B, S, heads * D)` to `(B, heads, S, D)`."""
    split: Tensor = x.unflatten(-1, (heads, -1))
    return split.transpose(-2, -3)


def join_heads(x: Tensor) -> Tensor:
    """`(B, heads, S, D)` to `(B, S, heads * D)`."""
    joined: Tensor = x.transpose(-2, -3).flatten(-2)
    return joined


def _same_type(*tensors: Tensor) -> list[Tensor]:
    """Of a half precision model the stored tensors are float32, the input perhaps not."""
    widest = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return [tensor.to(widest) for tensor in tensors]


def _allowed(
    queries: int, keys: int, past: int, lengths: Tensor | None, settings: Settings, device: torch.device
) -> Tensor | None:
    """Where causality, windows and lengths `(B,)` let a query look; None for everywhere."""
    place = torch.arange(keys, device=device)
    row = torch.arange(queries, device=device).unsqueeze(-1)
    left, right = settings.window
    # How far a key lies after its query; with lengths the queries are the last of the valid keys.
    after = place - row - past
    if lengths is not None:
        after = after - (lengths.reshape(-1, 1, 1, 1) - queries)
    conditions = [after <= 0] if settings.causal else []
    conditions += [after >= -left] if left >= 0 else []
    conditions += [after <= right] if right >= 0 else []
    if lengths is not None:
        conditions.append(place < lengths.reshape(-1, 1, 1, 1))
    allowed = None
    for condition in conditions:
        allowed = condition if allowed is None else allowed & condition
    return allowed


def _read_mask(mask: Tensor, keys: int) -> tuple[Tensor, Tensor | None]:
    """Where a mask lets a query look, and what it adds there; a short mask says nothing of later keys: no."""
    missing = keys - mask.shape[-1]
    if mask.dtype == torch.bool:
        return functional.pad(mask, (0, missing), value=False), None
    bias = functional.pad(mask, (0, missing), value=-math.inf)
    seen = bias > -math.inf
    return seen, torch.where(seen, bias, torch.zeros_like(bias))
