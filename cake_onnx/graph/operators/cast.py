"""Cast and CastLike. Everything here is computed in float32, so float widths fall together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx import TensorProto
from torch import Tensor

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.rounding import straight_through

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_RANGES: dict[int, tuple[int, int]] = {
    TensorProto.UINT8: (0, 8),
    TensorProto.INT8: (-(2**7), 8),
    TensorProto.UINT16: (0, 16),
    TensorProto.INT16: (-(2**15), 16),
    TensorProto.UINT32: (0, 32),
    TensorProto.INT32: (-(2**31), 32),
    TensorProto.UINT64: (0, 64),
    TensorProto.INT64: (-(2**63), 64),
}
"""Smallest number and bits of each integer type."""
_WRAPPED_BITS = 16
"""Wider types hold every whole number that float32 tells apart, near enough; they are not cut to size."""


@operator("Cast", since=(1, 6, 9, 13, 19, 21, 23, 24, 25, 28))
def cast(node: Node) -> Bound:
    """ONNX Cast-13.

    Float to integer truncates; the result stays a float that holds whole numbers, so that a gradient passes
    straight through. Integer tensors (shapes, indices) stay integer tensors.
    """
    # These two speak of 8-bit floats, which are declined.
    node.ignore("saturate", "round_mode")
    to = node.attribute("to")
    code = TensorProto.DataType.Value(to) if node.version == 1 else int(to)
    return node.bind(_conversion(node, code), 0)


@operator("CastLike", since=(15, 19, 21, 23, 24, 25))
def cast_like(node: Node) -> Bound:
    """ONNX CastLike-15: cast to the element type of the second input."""
    node.ignore("saturate", "round_mode")
    code = node.element_type(1)
    if code == TensorProto.UNDEFINED:
        return node.bind(Apply(_cast_like), 0, 1)
    return node.bind(_conversion(node, code), 0)


def _conversion(node: Node, code: int) -> Apply:
    if code in _FLOATS:
        return Apply(_to_float)
    if code == TensorProto.BOOL:
        return Apply(_to_bool)
    if code not in _RANGES:
        raise DeclinedError(f"{node.op_type} to {TensorProto.DataType.Name(code).lower()}")
    low, bits = _RANGES[code]
    if bits > _WRAPPED_BITS or _fits(node.element_type(0), low, bits):
        return Apply(_to_integer)
    return Apply(_to_narrow_integer, low=low, bits=bits)


def _fits(source: int, low: int, bits: int) -> bool:
    """Whether every value of the source type is one of the integer type."""
    if source == TensorProto.BOOL:
        return True
    if source not in _RANGES:
        return False
    start, width = _RANGES[source]
    return low <= start and start + 2**width <= low + 2**bits


def _to_float(x: Tensor) -> Tensor:
    return x.to(torch.float32)


def _to_bool(x: Tensor) -> Tensor:
    return x != 0


def _to_integer(x: Tensor) -> Tensor:
    if x.is_floating_point():
        return straight_through(x, torch.trunc(x))
    return x.to(torch.int64)


def _to_narrow_integer(x: Tensor, low: int, bits: int) -> Tensor:
    """Numbers out of range keep their lowest bits, as onnxruntime has it on most machines."""
    whole = x.trunc() if x.is_floating_point() else x.to(torch.int64)
    wrapped = (whole - low).remainder(2**bits) + low
    return straight_through(x, wrapped) if x.is_floating_point() else wrapped


def _cast_like(x: Tensor, like: Tensor) -> Tensor:
    convert: Callable[[Tensor], Tensor] = _to_integer
    if like.is_floating_point():
        convert = _to_float
    elif like.dtype == torch.bool:
        convert = _to_bool
    return convert(x)
