"""The Reduce family: axes as attribute up to version 13 (ReduceSum: 11), as input since."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cake_onnx.graph.operators.arithmetic import is_whole
from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.rounding import straight_through, towards_zero

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(dim=axes, keepdim=keep, dtype=x.dtype)


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(dim=axis, keepdim=keep, dtype=x.dtype)
    return x


def _max(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _empty(x, axes, keep, largest=False) if _is_empty(x, axes) else x.amax(dim=axes, keepdim=keep)


def _min(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _empty(x, axes, keep, largest=True) if _is_empty(x, axes) else x.amin(dim=axes, keepdim=keep)


def _is_empty(x: Tensor, axes: list[int]) -> bool:
    return any(x.shape[axis] == 0 for axis in axes)


def _empty(x: Tensor, axes: list[int], keep: bool, largest: bool) -> Tensor:
    """The extreme of nothing: what changes no maximum, or no minimum."""
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape) if keep or axis not in axes]
    if x.is_floating_point():
        value: float = torch.inf if largest else -torch.inf
    elif x.dtype == torch.bool:
        value = largest
    else:
        value = torch.iinfo(x.dtype).max if largest else torch.iinfo(x.dtype).min
    return torch.full(shape, value, dtype=x.dtype, device=x.device)


def _norm(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    # vector_norm has gradient 0 at 0, where the square root of a sum has none.
    length: Tensor = torch.linalg.vector_norm(x, dim=axes, keepdim=keep)
    return length


_KEEPING_TYPE: dict[str, Reduce] = {
    "ReduceSum": _sum,
    "ReduceMax": _max,
    "ReduceMin": _min,
    "ReduceProd": _prod,
    "ReduceL1": lambda x, axes, keep: _sum(x.abs(), axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: _sum(x.square(), axes, keep),
}
_THROUGH_FLOAT: dict[str, Reduce] = {
    "ReduceMean": lambda x, axes, keep: x.mean(dim=axes, keepdim=keep),
    "ReduceL2": _norm,
    "ReduceLogSum": lambda x, axes, keep: x.sum(dim=axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, dim=axes, keepdim=keep),
}
_OF_ONE_ELEMENT: dict[str, Callable[[Tensor], Tensor]] = {
    "ReduceL1": torch.abs,
    "ReduceL2": torch.abs,
    "ReduceSumSquare": torch.square,
    "ReduceLogSum": torch.log,
}
"""What is left where there are no axes to reduce over; nothing for the others."""


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
    """ONNX ReduceMean-18 and its sisters: no axes means all, or none with `noop_with_empty_axes`.

    Means, lengths and logarithms of integers are rounded towards zero.
    """
    axes = node.integers(1) if node.has(1) else node.attribute("axes")
    if node.has(1) and axes is None:
        raise DeclinedError("computed axes")
    keep = bool(node.attribute("keepdims", 1))
    if node.attribute("noop_with_empty_axes", 0) and not axes:
        return node.bind(Apply(_of_one_element, op_type=node.op_type), 0)
    options = {"op_type": node.op_type, "axes": axes or [], "keep": keep}
    return node.bind(Apply(_reduce, whole=is_whole(node), **options), 0)


def _of_one_element(x: Tensor, op_type: str) -> Tensor:
    return _OF_ONE_ELEMENT[op_type](x) if op_type in _OF_ONE_ELEMENT else x


def _reduce(x: Tensor, op_type: str, axes: list[int], keep: bool, whole: bool) -> Tensor:
    if x.dim() == 0:
        return _of_one_element(x, op_type)
    chosen = [axis % x.dim() for axis in axes] or list(range(x.dim()))
    if op_type in _KEEPING_TYPE:
        return _KEEPING_TYPE[op_type](x, chosen, keep)
    if not x.is_floating_point():
        return towards_zero(_THROUGH_FLOAT[op_type](x.to(torch.float32), chosen, keep)).to(x.dtype)
    result = _THROUGH_FLOAT[op_type](x, chosen, keep)
    return straight_through(result, towards_zero(result)) if whole else result
