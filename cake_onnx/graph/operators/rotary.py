"""RotaryEmbedding: positions as rotations of pairs of features."""

from __future__ import annotations

import torch
from torch import Tensor

from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.registry import MICROSOFT, Bound, DeclinedError, Node, operator


@operator("RotaryEmbedding", since=(23,))
def rotary_embedding(node: Node) -> Bound:
    """ONNX RotaryEmbedding-23: of the first `rotary_embedding_dim` features of each head, 0 for all."""
    return bind_operands(
        node,
        _rotary,
        heads=node.attribute("num_heads", 0),
        size=node.attribute("rotary_embedding_dim", 0),
        interleaved=bool(node.attribute("interleaved", 0)),
    )


@operator("RotaryEmbedding", since=(1,), domain=MICROSOFT)
def microsoft_rotary_embedding(node: Node) -> Bound:
    """com.microsoft RotaryEmbedding-1: positions are the second input; one number is where they start."""
    if node.attribute("is_packed_batching", 0):
        raise DeclinedError("packed batches")
    if node.attribute("scale", 1.0) != 1.0:
        raise DeclinedError("a scale of its own")
    return bind_operands(
        node,
        _microsoft_rotary,
        heads=node.attribute("num_heads", 0),
        size=node.attribute("rotary_embedding_dim", 0),
        interleaved=bool(node.attribute("interleaved", 0)),
    )


def _microsoft_rotary(
    x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, *, heads: int, size: int, interleaved: bool
) -> Tensor:
    if positions.numel() == 1:
        steps = x.shape[-2] if x.dim() == 4 else x.shape[1]
        positions = positions.reshape(1, 1) + torch.arange(steps, device=x.device)
    if x.dim() == 3 and not heads:
        # Without a number of heads their size follows from the tables.
        heads = x.shape[-1] // (2 * cos.shape[-1])
    return _rotary(x, cos, sin, positions, heads=heads, size=size, interleaved=interleaved)


def _rotary(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor | None = None,
    *,
    heads: int,
    size: int,
    interleaved: bool,
) -> Tensor:
    joined = x.dim() == 3
    by_head = x.unflatten(-1, (heads, -1)) if joined else x.transpose(1, 2)
    if positions is not None:
        cos, sin = cos[positions], sin[positions]
    turned = rotate(by_head, cos.unsqueeze(-2), sin.unsqueeze(-2), size, interleaved=interleaved)
    return turned.flatten(-2) if joined else turned.transpose(1, 2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, size: int, *, interleaved: bool) -> Tensor:
    """Rotate the first `size` features of `x (B, S, heads, D)`, all for 0.

    Args:
        x: Features by token and head.
        cos: Cosines of the angles `(B, S, 1, size / 2)`.
        sin: Sines likewise.
        size: Number of features that take part.
        interleaved: Pairs are neighbours, else one from each half.
    """
    size = size or x.shape[-1]
    moving, still = x[..., :size], x[..., size:]
    if interleaved:
        first, second = moving.unflatten(-1, (-1, 2)).unbind(dim=-1)
    else:
        first, second = moving.chunk(2, dim=-1)
    real, imaginary = cos * first - sin * second, sin * first + cos * second
    if interleaved:
        turned = torch.stack([real, imaginary], dim=-1).flatten(-2)
    else:
        turned = torch.cat([real, imaginary], dim=-1)
    return torch.cat([turned, still], dim=-1)
