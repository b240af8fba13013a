"""Preprocessing of classic machine learning (`ai.onnx.ml`): Scaler, Normalizer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cake_onnx.graph.operators.registry import ML, Apply, Bound, DeclinedError, Node, operator


class Scale(nn.Module):
    """`(x - offset) · scale` along the last axis; both hold one number or one a feature."""

    def __init__(self, offset: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.offset: Tensor
        self.scale: Tensor
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """`x (B, F)` to `(B, F)`."""
        return (x.to(torch.float32) - self.offset) * self.scale


@operator("Scaler", since=(1,), domain=ML)
def scaler(node: Node) -> Bound:
    """ONNX-ML Scaler-1: (x - offset) · scale, one number or one a feature."""
    offset = torch.tensor(node.attribute("offset", [0.0]) or [0.0], dtype=torch.float32)
    scale = torch.tensor(node.attribute("scale", [1.0]) or [1.0], dtype=torch.float32)
    return node.bind(Scale(offset, scale), 0)


@operator("Normalizer", since=(1,), domain=ML)
def normalizer(node: Node) -> Bound:
    """ONNX-ML Normalizer-1: rows divided by their largest, absolute sum or Euclidean length."""
    norm = node.attribute("norm", "MAX")
    if norm not in ("MAX", "L1", "L2"):
        raise DeclinedError(f"norm={norm}")
    return node.bind(Apply(_normalise, norm=norm), 0)


def _normalise(x: Tensor, norm: str) -> Tensor:
    if norm == "MAX":
        length = x.amax(dim=-1, keepdim=True)
    else:
        length = torch.linalg.vector_norm(x, ord=1 if norm == "L1" else 2, dim=-1, keepdim=True)
    # A row of zeros stays a row of zeros.
    return x / torch.where(length == 0, torch.ones_like(length), length)
