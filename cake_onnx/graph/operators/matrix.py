"""Determinant, inverse, Einstein summation and distances between rows."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from cake_onnx.graph.operators.elementwise import root
from cake_onnx.graph.operators.registry import MICROSOFT, Apply, Bound, DeclinedError, Node, operator


@operator("Det", since=(11, 22))
def determinant(node: Node) -> Bound:
    """ONNX Det-22: of the last two axes."""
    return node.bind(Apply(torch.linalg.det), 0)


@operator("Inverse", since=(1,), domain=MICROSOFT)
def inverse(node: Node) -> Bound:
    """onnxruntime contrib operator Inverse: of the last two axes; a singular matrix gives infinities."""
    return node.bind(Apply(_inverse), 0)


def _inverse(x: Tensor) -> Tensor:
    # inv_ex does not raise on a singular matrix, which one sample of a batch may hold.
    inverted, failed = torch.linalg.inv_ex(x)
    return torch.where((failed != 0)[..., None, None], torch.inf, inverted)


@operator("Einsum", since=(12, 28))
def einstein_sum(node: Node) -> Bound:
    """ONNX Einsum-12: any number of inputs."""
    equation = node.attribute("equation").replace(" ", "")
    return node.bind(Apply(_einstein_sum, equation=equation), *range(len(node.inputs)))


def _einstein_sum(*tensors: Tensor, equation: str) -> Tensor:
    # Whole numbers may come as integers or carried as floats; einsum wants one type.
    common = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return torch.einsum(equation, *(tensor.to(common) for tensor in tensors))


@operator("CDist", since=(1,), domain=MICROSOFT)
def distances(node: Node) -> Bound:
    """onnxruntime contrib operator CDist: distances `(N, M)` between the rows of two matrices."""
    metric = node.attribute("metric", "sqeuclidean")
    if metric not in ("euclidean", "sqeuclidean"):
        raise DeclinedError(f"metric={metric}")
    return node.bind(Apply(_distances, squared=metric == "sqeuclidean"), 0, 1)


def _distances(a: Tensor, b: Tensor, squared: bool) -> Tensor:
    total = (a[:, None] - b[None]).square().sum(dim=2)
    return total if squared else root(total)
