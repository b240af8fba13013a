"""Add, Sub, Mul, Div, Pow, Mod, with the broadcasting of old versions, and whole numbers as floats."""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx import TensorProto
from torch import Tensor

from cake_onnx.graph.operators.elementwise import without_singularity
from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.rounding import straight_through, towards_zero

Binary = Callable[..., Tensor]

INTEGERS = frozenset(
    [
        *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
        *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
    ]
)
"""Element types whose values here are integer tensors, or floats that hold whole numbers."""


def is_whole(node: Node) -> bool:
    """Whether the model computes this node on integers, though they may arrive as floats here."""
    return node.element_type(0) in INTEGERS


def elementwise_pair(node: Node, function: Binary, **options: bool) -> Bound:
    """A function of two inputs with the broadcasting that the version of the node has.

    Before version 7 there was none unless `broadcast` said so; then the second input was matched with the
    axes of the first from `axis` on, or with the last ones.

    Args:
        node: The node.
        function: Element by element, broadcasting as numpy does.
        options: Keyword arguments of the function.

    Raises:
        DeclinedError: A negative `axis` that says other than "the last ones".
    """
    if node.version >= 7:
        return node.bind(Apply(function, **options), 0, 1)
    node.ignore("consumed_inputs")
    axis = node.attribute("axis")
    if not node.attribute("broadcast", 0) or axis in (None, -1):
        return node.bind(Apply(function, **options), 0, 1)
    if axis < 0:
        raise DeclinedError(f"axis={axis}")
    return node.bind(Apply(_from_axis, function=function, axis=axis, **options), 0, 1)


def _from_axis(a: Tensor, b: Tensor, function: Binary, axis: int, **options: bool) -> Tensor:
    trailing = a.dim() - axis - b.dim()
    return function(a, b.reshape(*b.shape, *[1] * trailing), **options)


@operator("Add", since=(1, 6, 7, 13, 14))
def add(node: Node) -> Bound:
    """ONNX Add-14."""
    return elementwise_pair(node, torch.add)


@operator("Sub", since=(1, 6, 7, 13, 14))
def subtract(node: Node) -> Bound:
    """ONNX Sub-14."""
    return elementwise_pair(node, torch.sub)


@operator("Mul", since=(1, 6, 7, 13, 14))
def multiply(node: Node) -> Bound:
    """ONNX Mul-14."""
    return elementwise_pair(node, torch.mul)


@operator("Div", since=(1, 6, 7, 13, 14))
def divide(node: Node) -> Bound:
    """ONNX Div-14: integers round towards zero."""
    return elementwise_pair(node, whole_quotient if is_whole(node) else _quotient)


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    # The graph may not say its types; two integer tensors tell.
    return a / b if a.is_floating_point() or b.is_floating_point() else whole_quotient(a, b)


def whole_quotient(a: Tensor, b: Tensor) -> Tensor:
    """Quotient rounded towards zero; straight-through where whole numbers are carried as floats."""
    whole = torch.div(a, b, rounding_mode="trunc")
    return straight_through(a / b, whole) if whole.is_floating_point() else whole


@operator("Mod", since=(10, 13, 28))
def modulo(node: Node) -> Bound:
    """ONNX Mod-13: sign of the divisor, or of the dividend with `fmod`."""
    return node.bind(Apply(torch.fmod if node.attribute("fmod", 0) else torch.remainder), 0, 1)


@operator("Pow", since=(1, 7, 12, 13, 15))
def power(node: Node) -> Bound:
    """ONNX Pow-15: the result has the type of the base. An infinite slope at 0 is taken as 0."""
    whole = is_whole(node)
    exponent = node.constant(1)
    if node.version >= 7 and exponent is not None and exponent.numel() == 1:
        fixed = Apply(_fixed_power, exponent=exponent.item(), rank=exponent.dim(), whole=whole)
        return node.bind(fixed, 0)
    return elementwise_pair(node, _power, whole=whole)


def _fixed_power(x: Tensor, exponent: float, rank: int, whole: bool) -> Tensor:
    base = _as_float(x)[(None,) * (rank - x.dim())]
    if 0 < exponent < 1:
        result = without_singularity(lambda some: torch.pow(some, exponent), base, base == 0, 1.0)
    else:
        result = torch.pow(base, exponent)
    return _like_base(result, x, whole)


def _power(x: Tensor, exponent: Tensor, whole: bool) -> Tensor:
    base, exponent = torch.broadcast_tensors(_as_float(x), exponent)
    singular = (base == 0) & (exponent > 0) & (exponent < 1)
    result = without_singularity(lambda some: torch.pow(some, exponent), base, singular, 1.0)
    return _like_base(result, x, whole)


def _as_float(x: Tensor) -> Tensor:
    # Integers to negative or broken powers need floats on the way.
    return x if x.is_floating_point() else x.to(torch.float32)


def _like_base(result: Tensor, x: Tensor, whole: bool) -> Tensor:
    if x.is_floating_point() and not whole:
        return result
    # 5 to the 3rd may come out a rounding error below 125.
    whole_part = towards_zero(result)
    return straight_through(result, whole_part) if x.is_floating_point() else whole_part.to(x.dtype)
