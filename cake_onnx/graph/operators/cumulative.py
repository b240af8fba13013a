"""Running sums and products along an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator

_RUNNING: dict[str, tuple[Callable[..., Tensor], int]] = {
    # operator: (function, what an empty run gives)
    "CumSum": (torch.cumsum, 0),
    "CumProd": (torch.cumprod, 1),
}


@operator("CumSum", since=(11, 14))
@operator("CumProd", since=(26,))
def cumulative(node: Node) -> Bound:
    """ONNX CumSum-14, CumProd-26: from the first or the last element on; with or without the element."""
    axis = node.integers(1)
    if axis is None:
        raise DeclinedError("a computed axis")
    function, start = _RUNNING[node.op_type]
    options: dict[str, Any] = {
        "function": function,
        "start": start,
        "axis": axis[0],
        "exclusive": bool(node.attribute("exclusive", 0)),
        "reverse": bool(node.attribute("reverse", 0)),
    }
    return node.bind(Apply(_run, **options), 0)


def _run(
    x: Tensor, function: Callable[..., Tensor], start: int, axis: int, exclusive: bool, reverse: bool
) -> Tensor:
    if reverse:
        x = x.flip(axis)
    y = function(x, axis, dtype=x.dtype)
    if exclusive and x.shape[axis]:
        first = torch.full_like(y.narrow(axis, 0, 1), start)
        y = torch.cat([first, y.narrow(axis, 0, x.shape[axis] - 1)], dim=axis)
    return y.flip(axis) if reverse else y
