"""ArgMax, ArgMin, TopK, Hardmax: of equal values the first counts, as in onnxruntime."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.rounding import straight_through


@operator("ArgMax", since=(1, 11, 12, 13))
@operator("ArgMin", since=(1, 11, 12, 13))
def arg_extreme(node: Node) -> Bound:
    """ONNX ArgMax-13, ArgMin-13: an index, without gradient."""
    options = {
        "smallest": node.op_type == "ArgMin",
        "axis": int(node.attribute("axis", 0)),
        "keep": bool(node.attribute("keepdims", 1)),
        "last": bool(node.attribute("select_last_index", 0)),
    }
    return node.bind(Apply(_arg_extreme, **options), 0)


def _arg_extreme(x: Tensor, smallest: bool, axis: int, keep: bool, last: bool) -> Tensor:
    find = torch.argmin if smallest else torch.argmax
    if not last:
        return find(x, dim=axis, keepdim=keep)
    return x.shape[axis] - 1 - find(x.flip(axis), dim=axis, keepdim=keep)


@operator("TopK", since=(1, 10, 11, 24))
def top_k(node: Node) -> Bound:
    """ONNX TopK-11: values, which pass a gradient, and indices, which do not.

    Unsorted results come sorted: their order is undefined, and nothing sensible depends on it.
    """
    count = node.integers(1) if node.version >= 10 else [int(node.attribute("k"))]
    if count is None:
        raise DeclinedError("a computed number of elements")
    node.ignore("sorted")
    largest = bool(node.attribute("largest", 1))
    return node.bind(Apply(_top_k, count=count[0], axis=int(node.attribute("axis", -1)), largest=largest), 0)


def _top_k(x: Tensor, count: int, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    # torch.topk says nothing of the order of equal values; a stable sort keeps theirs.
    values, indices = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)


@operator("Hardmax", since=(1, 11))
def hardmax_1(node: Node) -> Bound:
    """ONNX Hardmax-11: over everything from `axis` on, as if flattened to two axes."""
    return node.bind(Apply(_flat_hardmax, axis=int(node.attribute("axis", 1))), 0)


@operator("Hardmax", since=(13,))
def hardmax_13(node: Node) -> Bound:
    """ONNX Hardmax-13: 1 at the first maximum, else 0; backward as the softmax."""
    return node.bind(Apply(_hardmax, axis=int(node.attribute("axis", -1))), 0)


def _flat_hardmax(x: Tensor, axis: int) -> Tensor:
    rows = math.prod(x.shape[: axis % x.dim()])
    return _hardmax(x.reshape(rows, -1), 1).reshape(x.shape)


def _hardmax(x: Tensor, axis: int) -> Tensor:
    best = x.argmax(dim=axis, keepdim=True)
    shape = [1] * x.dim()
    shape[axis] = x.shape[axis]
    places = torch.arange(x.shape[axis], device=x.device).reshape(shape)
    return straight_through(x.softmax(axis), (places == best).to(x.dtype))
