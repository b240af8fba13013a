"""Gemm and MatMul."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cake_onnx.graph.operators.registry import Apply, Bound, Node, operator


@operator("Gemm", since=(1, 6, 7, 9, 11, 13))
def gemm(node: Node) -> Bound:
    """ONNX Gemm-13: alpha·A·B + beta·C. A stored weight and bias become an `nn.Linear`."""
    node.ignore("broadcast")  # before version 7; C is broadcast where its shape asks for it
    module = stored_gemm(node)
    return node.bind(computed_gemm(node), 0, 1, 2) if module is None else node.bind(module, 0)


def stored_gemm(node: Node) -> nn.Linear | None:
    """A layer for a Gemm whose weight and bias are stored and of the usual form, else None."""
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    flip_a, flip_b = bool(node.attribute("transA", 0)), bool(node.attribute("transB", 0))
    weight, bias = node.constant(1), node.constant(2)
    if weight is None or (node.has(2) and bias is None) or flip_a or not weight.is_floating_point():
        return None
    weight = weight if flip_b else weight.T
    if bias is not None and bias.numel() != 1 and bias.shape not in ((len(weight),), (1, len(weight))):
        return None
    if bias is not None:
        bias = (bias.reshape(-1) * beta).expand(len(weight)).contiguous()
    return _layer(weight * alpha, bias)


def computed_gemm(node: Node) -> Apply:
    """A module of A, B and perhaps C."""
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    flip_a, flip_b = bool(node.attribute("transA", 0)), bool(node.attribute("transB", 0))
    return Apply(_gemm, alpha=alpha, beta=beta, flip_a=flip_a, flip_b=flip_b)


def _gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float, beta: float, flip_a: bool, flip_b: bool
) -> Tensor:
    product = alpha * torch.matmul(a.T if flip_a else a, b.T if flip_b else b)
    return product if c is None else product + beta * c


@operator("MatMul", since=(1, 9, 13))
def matmul(node: Node) -> Bound:
    """ONNX MatMul-13: numpy's matmul. A stored matrix on the right becomes an `nn.Linear`."""
    weight = node.constant(1)
    if weight is None or weight.dim() != 2 or not weight.is_floating_point():
        return node.bind(Apply(torch.matmul), 0, 1)
    return node.bind(_layer(weight.T, None), 0)


def _layer(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """An `nn.Linear` of a weight `(outputs, inputs)`."""
    rows, columns = weight.shape
    linear = nn.Linear(columns, rows, bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.contiguous())
    if bias is not None:
        linear.bias = nn.Parameter(bias)
    return linear
