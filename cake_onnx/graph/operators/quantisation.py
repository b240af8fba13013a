"""QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear: whole numbers carried as floats, for a gradient.

Rounding is straight-through; saturation keeps its true gradient, zero outside the range.
"""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import Tensor

from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.registry import MICROSOFT, Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.rounding import straight_through

LIMITS: dict[int, tuple[float, float]] = {
    TensorProto.UINT2: (0.0, 3.0),
    TensorProto.INT2: (-2.0, 1.0),
    TensorProto.UINT4: (0.0, 15.0),
    TensorProto.INT4: (-8.0, 7.0),
    TensorProto.UINT8: (0.0, 255.0),
    TensorProto.INT8: (-128.0, 127.0),
    TensorProto.UINT16: (0.0, 65535.0),
    TensorProto.INT16: (-32768.0, 32767.0),
}
"""Lowest and highest whole number of an ONNX element type."""

_FLOATS8: dict[int, torch.dtype] = {
    TensorProto.FLOAT8E4M3FN: torch.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: torch.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
}
_READABLE = frozenset([*LIMITS, *_FLOATS8, TensorProto.FLOAT4E2M1, TensorProto.INT32])
_FLOATS = (0, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_FAR = 2.0**18
"""Beyond every range and zero point of 16 bits: whatever is further away saturates as well."""
_VERSIONS = (10, 13, 19, 21, 23, 24, 25, 28)


def limits_of(code: int) -> tuple[float, float]:
    """Lowest and highest whole number of an ONNX element type.

    Raises:
        DeclinedError: It is no type of up to 16 bits, or the graph does not say which it is.
    """
    if code not in LIMITS:
        raise DeclinedError(f"quantisation to {_name(code)}")
    return LIMITS[code]


def to_whole(scaled: Tensor, zero: Tensor | float, limits: tuple[float, float]) -> Tensor:
    """Round to whole numbers (halves to the even one), shift by `zero`, saturate; same shape as `scaled`."""
    # The clamp keeps infinities, such as those of masks, out of the difference inside straight_through.
    near = scaled.clamp(-_FAR, _FAR)
    return (straight_through(near, torch.round(near)) + zero).clamp(*limits)


def shifted(whole: Tensor, zero: Tensor | None) -> Tensor:
    """`whole - zero` in float32; shapes broadcast."""
    values = whole.to(torch.float32)
    return values if zero is None else values - zero


def along(value: Tensor, x: Tensor, axis: int, block: int = 0) -> Tensor:
    """A scale or zero point shaped so that it runs along `axis` of `x`, or repeated over its blocks there."""
    if block:
        return value.repeat_interleave(block, dim=axis).narrow(axis, 0, x.shape[axis])
    if value.numel() == 1:
        return value.reshape(())
    shape = [1] * x.dim()
    shape[axis] = -1
    return value.reshape(shape)


@operator("QuantizeLinear", since=_VERSIONS)
@operator("QuantizeLinear", since=(1,), domain=MICROSOFT)
def quantize_linear(node: Node) -> Bound:
    """ONNX QuantizeLinear-25 and com.microsoft QuantizeLinear-1: per tensor, per axis and in blocks."""
    if node.attribute("precision", 0) not in _FLOATS:
        raise DeclinedError("a division in another type than a float")
    asked = node.attribute("output_dtype", 0)
    code = node.element_type(2) if node.has(2) else asked or TensorProto.UINT8
    saturate = bool(node.attribute("saturate", 1))  # of the 8-bit floats; whole numbers always do
    where = {"axis": node.attribute("axis", 1), "block": node.attribute("block_size", 0)}
    if code in _FLOATS8:
        return bind_operands(node, _to_float8, dtype=_FLOATS8[code], saturate=saturate, **where)
    if code == TensorProto.FLOAT4E2M1:
        return bind_operands(node, _to_float4, **where)
    return bind_operands(node, _quantize, limits=limits_of(code), **where)


def _quantize(
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    limits: tuple[float, float],
    axis: int,
    block: int,
) -> Tensor:
    scaled = x.to(torch.float32) / along(scale, x, axis, block)
    return to_whole(scaled, 0.0 if zero is None else along(zero, x, axis, block), limits)


def _to_float8(
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    dtype: torch.dtype,
    saturate: bool,
    axis: int,
    block: int,
) -> Tensor:
    scaled = x.to(torch.float32) / along(scale, x, axis, block)
    if saturate:
        largest = torch.finfo(dtype).max
        scaled = scaled.clamp(-largest, largest)
    return straight_through(scaled, scaled.to(dtype).to(torch.float32))


def _to_float4(x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int, block: int) -> Tensor:
    """Float4E2M1 has 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives; halves go to the even mantissa."""
    scaled = (x.to(torch.float32) / along(scale, x, axis, block)).clamp(-6, 6)
    step = 0.5 * (1 + (scaled.abs() >= 2) + 2.0 * (scaled.abs() >= 4))
    return straight_through(scaled, torch.round(scaled / step) * step)


@operator("DequantizeLinear", since=_VERSIONS)
@operator("DequantizeLinear", since=(1,), domain=MICROSOFT)
def dequantize_linear(node: Node) -> Bound:
    """ONNX DequantizeLinear-25 and com.microsoft DequantizeLinear-1: per tensor, per axis and in blocks."""
    code = node.element_type(2) or node.element_type(0)
    if code and code not in _READABLE:
        raise DeclinedError(f"quantisation from {_name(code)}")
    if node.attribute("output_dtype", 0) not in _FLOATS:
        raise DeclinedError("another result than a float")
    return bind_operands(
        node, _dequantize, axis=node.attribute("axis", 1), block=node.attribute("block_size", 0)
    )


def _dequantize(x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int, block: int) -> Tensor:
    moved = shifted(x, None if zero is None else along(zero, x, axis, block))
    return moved * along(scale, x, axis, block)


@operator("DynamicQuantizeLinear", since=(11,))
def dynamic_quantize_linear(node: Node) -> Bound:
    """ONNX DynamicQuantizeLinear-11: to uint8, with the range of the tensor itself."""
    return node.bind(Apply(dynamic_quantize), 0)


def dynamic_quantize(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whole numbers of the shape of `x`, their scale `()` and zero point `()`.

    The range is taken as given: no gradient goes through scale and zero point, so that quantising and
    dequantising together pass the gradient as it is.
    """
    fixed = x.detach()
    low, high = fixed.amin().clamp(max=0.0), fixed.amax().clamp(min=0.0)
    scale = (high - low) / 255.0
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero = torch.round((-low / scale).clamp(0.0, 255.0))
    return to_whole(x / scale, zero, LIMITS[TensorProto.UINT8]), scale, zero


def _name(code: int) -> str:
    return TensorProto.DataType.Name(code).lower() if code else "an element type that the graph does not say"
