"""EmbedLayerNormalization: what onnxruntime's optimiser makes of the first layer of a transformer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.registry import MICROSOFT, Bound, DeclinedError, Node, operator


@operator("EmbedLayerNormalization", since=(1,), domain=MICROSOFT)
def embed_layer_normalization(node: Node) -> Bound:
    """com.microsoft EmbedLayerNormalization-1: embeddings of token, position and segment, normalised."""
    kind = node.attribute("mask_index_type", 0)
    if kind not in (0, 1):
        raise DeclinedError(f"mask_index_type {kind}")
    return bind_operands(
        node,
        _embed,
        epsilon=float(node.attribute("epsilon", 1e-12)),
        outputs=node.outputs,
    )


def _embed(
    tokens: Tensor,
    segments: Tensor | None,
    words: Tensor,
    places: Tensor,
    kinds: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    mask: Tensor | None = None,
    positions: Tensor | None = None,
    *,
    epsilon: float,
    outputs: int,
) -> Tensor | tuple[Tensor, ...]:
    steps = torch.arange(tokens.shape[1], device=tokens.device) if positions is None else positions.long()
    total = words[tokens.long()] + places[steps]
    if segments is not None and kinds is not None:
        total = total + kinds[segments.long()]
    normal = functional.layer_norm(total, total.shape[-1:], scale, shift, epsilon)
    if outputs == 1:
        return normal
    # onnxruntime counts the mask whenever there is one, whatever `mask_index_type` says.
    seen = torch.zeros_like(tokens) if mask is None else mask
    count = seen.sum(dim=1).to(torch.int32)
    return (normal, count, total)[:outputs]
