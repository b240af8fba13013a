"""Functions of one number, element by element: arithmetic, exponential, trigonometric, hyperbolic.

Where a slope is infinite (the square root at 0, the arc sine at 1) the gradient is 0: an infinite one turns
into NaN as soon as the chain rule multiplies it by the 0 that usually stands in front of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cake_onnx.graph.operators.registry import Apply, Bound, Node, operator

Function = Callable[[Tensor], Tensor]


def without_singularity(function: Function, x: Tensor, singular: Tensor, safe: float) -> Tensor:
    """`function(x)` with gradient 0 where `singular` says so.

    Args:
        function: Element by element.
        x: Any shape.
        singular: Truth values of the same shape.
        safe: A number at which the slope is finite.
    """
    return torch.where(singular, function(x).detach(), function(torch.where(singular, safe, x)))


def root(x: Tensor) -> Tensor:
    """Square root with gradient 0 at 0."""
    return without_singularity(torch.sqrt, x, x == 0, 1.0)


def _log(x: Tensor) -> Tensor:
    return without_singularity(torch.log, x, x == 0, 1.0)


def _reciprocal(x: Tensor) -> Tensor:
    return without_singularity(torch.reciprocal, x, x == 0, 1.0)


def _asin(x: Tensor) -> Tensor:
    return without_singularity(torch.asin, x, x.abs() == 1, 0.0)


def _acos(x: Tensor) -> Tensor:
    return without_singularity(torch.acos, x, x.abs() == 1, 0.0)


def _acosh(x: Tensor) -> Tensor:
    return without_singularity(torch.acosh, x, x == 1, 2.0)


def _atanh(x: Tensor) -> Tensor:
    return without_singularity(torch.atanh, x, x.abs() == 1, 0.0)


_FUNCTIONS: dict[str, Function] = {
    "Abs": torch.abs,
    "Neg": torch.neg,
    "Exp": torch.exp,
    "Log": _log,
    "Sqrt": root,
    "Reciprocal": _reciprocal,
    "Erf": torch.erf,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Tan": torch.tan,
    "Asin": _asin,
    "Acos": _acos,
    "Atan": torch.atan,
    "Sinh": torch.sinh,
    "Cosh": torch.cosh,
    "Asinh": torch.asinh,
    "Acosh": _acosh,
    "Atanh": _atanh,
}


@operator("Abs", since=(1, 6, 13))
@operator("Neg", since=(1, 6, 13))
@operator("Exp", since=(1, 6, 13))
@operator("Log", since=(1, 6, 13))
@operator("Sqrt", since=(1, 6, 13))
@operator("Reciprocal", since=(1, 6, 13))
@operator("Erf", since=(9, 13))
@operator("Sin", since=(7, 22))
@operator("Cos", since=(7, 22))
@operator("Tan", since=(7, 22))
@operator("Asin", since=(7, 22))
@operator("Acos", since=(7, 22))
@operator("Atan", since=(7, 22))
@operator("Sinh", since=(9, 22))
@operator("Cosh", since=(9, 22))
@operator("Asinh", since=(9, 22))
@operator("Acosh", since=(9, 22))
@operator("Atanh", since=(9, 22))
def elementwise(node: Node) -> Bound:
    """ONNX Abs-13, Neg-13, Exp-13, Log-13, Sqrt-13, Reciprocal-13, Erf-13, Sin-22 and the like."""
    # Version 1 says which memory may be used again; the result is the same.
    node.ignore("consumed_inputs")
    return node.bind(Apply(_FUNCTIONS[node.op_type]), 0)
