"""The Reduce family: axes as attribute up to version 13 (ReduceSum: 11), as input since."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(dim=axis, keepdim=keep)
    return x


def _log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(dim=axes, keepdim=keep).log()


def _norm(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    # vector_norm has gradient 0 at 0, where the square root of a sum has none.
    length: Tensor = torch.linalg.vector_norm(x, dim=axes, keepdim=keep)
    return length


_REDUCE: dict[str, Reduce] = {
    "ReduceMean": lambda x, axes, keep: x.mean(dim=axes, keepdim=keep),
    "ReduceSum": lambda x, axes, keep: x.sum(dim=axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: x.amax(dim=axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(dim=axes, keepdim=keep),
    "ReduceProd": _prod,
    "ReduceL1": lambda x, axes, keep: x.abs().sum(dim=axes, keepdim=keep),
    "ReduceL2": _norm,
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(dim=axes, keepdim=keep),
    "ReduceLogSum": _log_sum,
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, dim=axes, keepdim=keep),
}


@operator("ReduceMean", since=(1, 11, 13, 18))
@operator("ReduceSum", since=(1, 11, 13))
@operator("ReduceMax", since=(1, 11, 12, 13, 18, 20))
@operator("ReduceMin", since=(1, 11, 12, 13, 18, 20))
@operator("ReduceProd", since=(1, 11, 13, 18))
@operator("ReduceL1", since=(1, 11, 13, 18))
@operator("ReduceL2", since=(1, 11, 13, 18))
@operator("ReduceSumSquare", since=(1, 11, 13, 18))
@operator("ReduceLogSum", since=(1, 11, 13, 18, 28))
@operator("ReduceLogSumExp", since=(1, 11, 13, 18, 28))
def reduce(node: Node) -> Bound:
    """ONNX ReduceMean-18 and its sisters: no axes means all, or none with `noop_with_empty_axes`."""
    axes = node.integers(1) if node.has(1) else node.attribute("axes")
    if node.has(1) and axes is None:
        raise DeclinedError("computed axes")
    options = {
        "function": _REDUCE[node.op_type],
        "axes": axes or [],
        "keep": bool(node.attribute("keepdims", 1)),
        "noop": bool(node.attribute("noop_with_empty_axes", 0)),
    }
    return node.bind(Apply(_reduce, **options), 0)


def _reduce(x: Tensor, function: Reduce, axes: list[int], keep: bool, noop: bool) -> Tensor:
    if not axes and noop:
        return x
    chosen = [axis % x.dim() for axis in axes] if axes else list(range(x.dim()))
    return function(x, chosen, keep) if chosen else x
