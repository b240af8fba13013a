"""Gemm. MatMul is onnx2torch's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cake_onnx.graph.operators.registry import Apply, Bound, Node, operator


@operator("Gemm", since=(6, 7, 9, 11, 13))
def gemm(node: Node) -> Bound:
    """ONNX Gemm-13: alpha·A·B + beta·C. A stored weight and bias become an `nn.Linear`."""
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    flip_a, flip_b = bool(node.attribute("transA", 0)), bool(node.attribute("transB", 0))
    weight, bias = node.constant(1), node.constant(2)
    plain_bias = bias is None or (weight is not None and bias.numel() == weight.shape[0 if flip_b else 1])
    if weight is None or (node.has(2) and bias is None) or flip_a or not plain_bias:
        return node.bind(Apply(_gemm, alpha=alpha, beta=beta, flip_a=flip_a, flip_b=flip_b), 0, 1, 2)
    weight = (weight if flip_b else weight.T).contiguous() * alpha
    rows, columns = weight.shape
    linear = nn.Linear(columns, rows, bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight)
    if bias is not None:
        linear.bias = nn.Parameter(bias.reshape(-1) * beta)
    return node.bind(linear, 0)


def _gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float, beta: float, flip_a: bool, flip_b: bool
) -> Tensor:
    product = alpha * torch.matmul(a.T if flip_a else a, b.T if flip_b else b)
    return product if c is None else product + beta * c
