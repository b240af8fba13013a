"""Round, Floor, Ceil, Sign: forward exact, backward as if they were not there (straight-through estimator).

Bengio, Leonard, Courville, "Estimating or Propagating Gradients Through Stochastic Neurons" (2013), sec. 4.
Written with `detach` rather than a custom autograd function, so that `torch.vmap` can map over it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cake_onnx.graph.operators.registry import Apply, Bound, Node, operator


def straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    """Value of `rounded`, gradient of `x`; both of the same shape."""
    return rounded.detach() + (x - x.detach())


def towards_zero(x: Tensor) -> Tensor:
    """Whole part of `x`; a rounding error below a whole number counts as that number."""
    near = x.round()
    return torch.where((x - near).abs() <= 1e-6 * near.abs(), near, x.trunc())


@operator("Round", since=(11, 22))
def round_half_even(node: Node) -> Bound:
    """ONNX Round-11: halves to the even neighbour, as torch does."""
    return node.bind(Apply(_rounded, function=torch.round), 0)


@operator("Floor", since=(1, 6, 13))
def floor(node: Node) -> Bound:
    """ONNX Floor-13."""
    node.ignore("consumed_inputs")
    return node.bind(Apply(_rounded, function=torch.floor), 0)


@operator("Ceil", since=(1, 6, 13))
def ceil(node: Node) -> Bound:
    """ONNX Ceil-13."""
    node.ignore("consumed_inputs")
    return node.bind(Apply(_rounded, function=torch.ceil), 0)


def _rounded(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    return straight_through(x, function(x)) if x.is_floating_point() else x


@operator("Sign", since=(9, 13))
def sign(node: Node) -> Bound:
    """ONNX Sign-13. The gradient passes where |x| is at most 1, as binarised networks are trained."""
    return node.bind(Apply(_sign), 0)


def _sign(x: Tensor) -> Tensor:
    return straight_through(x.clamp(-1, 1), x.sign()) if x.is_floating_point() else x.sign()
