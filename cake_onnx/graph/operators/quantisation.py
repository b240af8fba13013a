"""QuantizeLinear and DequantizeLinear, with whole numbers carried as floats so that a gradient passes.

Rounding is straight-through; saturation keeps its true gradient, zero outside the range.
"""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import Tensor, nn

from cake_onnx.graph.operators.registry import Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.rounding import straight_through

_RANGES = {
    torch.uint8: (0.0, 255.0),
    torch.int8: (-128.0, 127.0),
    torch.uint16: (0.0, 65535.0),
    torch.int16: (-32768.0, 32767.0),
}
_BY_CODE = {
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.INT16: torch.int16,
}
_VERSIONS = (10, 13, 19, 21, 23, 24, 25, 28)


class Quantize(nn.Module):
    """Round `x / scale` to whole numbers, shift by the zero point, saturate.

    Args:
        scale: Step, a number or one a slice of `axis`.
        zero_point: What 0 becomes, same shape as `scale`.
        limits: Lowest and highest whole number of the type.
        axis: Axis that `scale` runs along where it has more than one entry.
    """

    def __init__(self, scale: Tensor, zero_point: Tensor, limits: tuple[float, float], axis: int) -> None:
        super().__init__()
        self.scale: Tensor
        self.zero_point: Tensor
        self.register_buffer("scale", scale.to(torch.float32))
        self.register_buffer("zero_point", zero_point.to(torch.float32))
        self.limits = limits
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape to whole numbers in float32, same shape."""
        scaled = x / _along(self.scale, x, self.axis)
        whole = straight_through(scaled, torch.round(scaled))
        return (whole + _along(self.zero_point, x, self.axis)).clamp(*self.limits)


class Dequantize(nn.Module):
    """`(x - zero_point) · scale`; arguments as for `Quantize`."""

    def __init__(self, scale: Tensor, zero_point: Tensor, axis: int) -> None:
        super().__init__()
        self.scale: Tensor
        self.zero_point: Tensor
        self.register_buffer("scale", scale.to(torch.float32))
        self.register_buffer("zero_point", zero_point.to(torch.float32))
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Whole numbers of any shape back to float32."""
        shifted = x.to(torch.float32) - _along(self.zero_point, x, self.axis)
        return shifted * _along(self.scale, x, self.axis)


@operator("QuantizeLinear", since=_VERSIONS)
def quantize_linear(node: Node) -> Bound:
    """ONNX QuantizeLinear-21 per tensor and per axis; half goes to the even neighbour."""
    scale, zero_point = _parameters(node)
    dtype = zero_point.dtype
    if not node.has(2):
        dtype = _BY_CODE.get(node.attribute("output_dtype", 0) or TensorProto.UINT8, torch.float8_e4m3fn)
    if dtype not in _RANGES:
        raise DeclinedError(f"quantisation to {dtype}")
    return node.bind(Quantize(scale, zero_point, _RANGES[dtype], node.attribute("axis", 1)), 0)


@operator("DequantizeLinear", since=_VERSIONS)
def dequantize_linear(node: Node) -> Bound:
    """ONNX DequantizeLinear-21 per tensor and per axis."""
    scale, zero_point = _parameters(node)
    if zero_point.dtype not in (*_RANGES, torch.int32, torch.int64):
        raise DeclinedError(f"quantisation from {zero_point.dtype}")
    return node.bind(Dequantize(scale, zero_point, node.attribute("axis", 1)), 0)


def _parameters(node: Node) -> tuple[Tensor, Tensor]:
    scale, zero_point = node.constant(1), node.constant(2)
    if scale is None or (node.has(2) and zero_point is None):
        raise DeclinedError("a computed scale or zero point")
    if node.attribute("block_size", 0):
        raise DeclinedError("blocked quantisation")
    if zero_point is None:
        zero_point = torch.zeros(scale.shape, dtype=torch.uint8)
    return scale, zero_point


def _along(value: Tensor, x: Tensor, axis: int) -> Tensor:
    """`value` shaped so that it runs along `axis` of `x`."""
    if value.numel() == 1:
        return value.reshape(())
    shape = [1] * x.dim()
    shape[axis] = -1
    return value.reshape(shape)
