"""Comparisons, logic and Where. Truth values carry no gradient; what Where chooses does."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cake_onnx.graph.operators.arithmetic import elementwise_pair
from cake_onnx.graph.operators.registry import Apply, Bound, Node, operator

_FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Equal": torch.eq,
    "Greater": torch.gt,
    "Less": torch.lt,
    "GreaterOrEqual": torch.ge,
    "LessOrEqual": torch.le,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
}


@operator("Equal", since=(1, 7, 11, 13, 19))
@operator("Greater", since=(1, 7, 9, 13))
@operator("Less", since=(1, 7, 9, 13))
@operator("GreaterOrEqual", since=(12, 16))
@operator("LessOrEqual", since=(12, 16))
@operator("And", since=(1, 7))
@operator("Or", since=(1, 7))
@operator("Xor", since=(1, 7))
def compare(node: Node) -> Bound:
    """ONNX Equal-19, Greater-13, Less-13, GreaterOrEqual-16, LessOrEqual-16, And-7, Or-7, Xor-7."""
    return elementwise_pair(node, _FUNCTIONS[node.op_type])


@operator("Not", since=(1,))
def logical_not(node: Node) -> Bound:
    """ONNX Not-1."""
    return node.bind(Apply(torch.logical_not), 0)


@operator("Where", since=(9, 16))
def where(node: Node) -> Bound:
    """ONNX Where-16: three-way broadcasting."""
    return node.bind(Apply(torch.where), 0, 1, 2)


@operator("IsNaN", since=(9, 13, 20))
def is_nan(node: Node) -> Bound:
    """ONNX IsNaN-20."""
    return node.bind(Apply(torch.isnan), 0)


@operator("IsInf", since=(10, 20))
def is_infinite(node: Node) -> Bound:
    """ONNX IsInf-20: either sign, or only one."""
    positive = bool(node.attribute("detect_positive", 1))
    negative = bool(node.attribute("detect_negative", 1))
    return node.bind(Apply(_is_infinite, positive=positive, negative=negative), 0)


def _is_infinite(x: Tensor, positive: bool, negative: bool) -> Tensor:
    if positive and negative:
        return torch.isinf(x)
    if not (positive or negative):
        return torch.zeros_like(x, dtype=torch.bool)
    return x == (torch.inf if positive else -torch.inf)
