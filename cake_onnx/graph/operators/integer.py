"""MatMulInteger, ConvInteger and what com.microsoft fuses around them: products of whole numbers, exactly."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.quantisation import dynamic_quantize, shifted
from cake_onnx.graph.operators.registry import MICROSOFT, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.windows import Window

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_EXACT = 2.0**24
"""float32 holds every whole number up to here, so sums that stay below are exact in any order."""
_REACH = 255.0
"""Largest distance of an 8-bit number from its zero point."""


def is_wide(weight: Tensor | None, zero: Tensor | None, axis: int, bias: Tensor | None = None) -> bool | None:
    """Whether a sum over `weight (…, axis, …)` could leave what float32 holds exactly.

    Args:
        weight: Stored 8-bit weights, None where they are computed: then the answer is None, not known.
        zero: Their stored zero points, one or one an index of `axis`.
        axis: Axis of the weights that has one entry for each sum.
        bias: Stored whole numbers added to the sums.
    """
    if weight is None:
        return None
    rows = weight.to(torch.float32).movedim(axis, 0).flatten(1)
    if zero is not None:
        rows = rows - zero.reshape(-1, 1).to(torch.float32)
    largest = float(rows.abs().sum(dim=1).max()) * _REACH if rows.numel() else 0.0
    added = float(bias.abs().max()) if bias is not None and bias.numel() else 0.0
    return largest + added > _EXACT


def whole_matmul(a: Tensor, b: Tensor, bias: Tensor | None, wide: bool | None) -> Tensor:
    """`a (…, M, K) · b (…, K, N) + bias` of whole numbers, as an int32 sum turned to float32 would be."""
    if wide is None:
        wide = a.shape[-1] * _REACH * _REACH > _EXACT
    dtype = torch.float64 if wide else torch.float32
    total = torch.matmul(a.to(dtype), b.to(dtype))
    return (total if bias is None else total + bias.to(dtype)).to(torch.float32)


def whole_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int, wide: bool | None
) -> Tensor:
    """Convolution of `x (B, C, *sizes)` with `weight (M, C / groups, *kernel)`, exact as `whole_matmul`."""
    rank = weight.dim() - 2
    if rank not in _CONVOLUTIONS:
        raise DeclinedError(f"a convolution over {rank} axes")
    if wide is None:
        wide = weight[0].numel() * _REACH * _REACH > _EXACT
    dtype = torch.float64 if wide else torch.float32
    known = window.with_kernel(list(weight.shape[2:]))
    flat = [amount for side in reversed(known.sides(list(x.shape[2:]))) for amount in side]
    padded = functional.pad(x.to(dtype), flat) if any(flat) else x.to(dtype)
    total: Tensor = _CONVOLUTIONS[rank](
        padded, weight.to(dtype), None, known.strides, 0, known.dilations, groups
    )
    if bias is not None:
        total = total + bias.to(dtype).reshape(-1, *[1] * rank)
    return total.to(torch.float32)


def down_rows(value: Tensor) -> Tensor:
    """A scale or zero point; where it has one entry a row of `(…, M, K)`, shaped `(M, 1)`."""
    return value.unsqueeze(-1) if value.dim() == 1 and value.numel() > 1 else value


def channelwise(value: Tensor, rank: int) -> Tensor:
    """A number, or one a channel, shaped for `(B, C, *sizes)` with `rank` sizes, or for `(C, …)` weights."""
    return value.reshape(()) if value.numel() == 1 else value.reshape(-1, *[1] * rank)


@operator("MatMulInteger", since=(10,))
def matmul_integer(node: Node) -> Bound:
    """ONNX MatMulInteger-10: zero points for all, for each row of A, for each column of B."""
    wide = is_wide(node.constant(1), node.constant(3), -1) if _is_matrix(node, 1) else None
    return bind_operands(node, _matmul_integer, wide=wide)


def _matmul_integer(
    a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None, *, wide: bool | None
) -> Tensor:
    rows = None if a_zero is None else down_rows(a_zero)
    return whole_matmul(shifted(a, rows), shifted(b, b_zero), None, wide)


@operator("ConvInteger", since=(10,))
def conv_integer(node: Node) -> Bound:
    """ONNX ConvInteger-10: padding adds what the zero point of the input stands for, which is nothing."""
    node.ignore("kernel_shape")  # the weight says it
    wide = is_wide(node.constant(1), node.constant(3), 0)
    window, groups = Window.of(node, []), node.attribute("group", 1)
    return bind_operands(node, _conv_integer, window=window, groups=groups, wide=wide)


def _conv_integer(
    x: Tensor,
    w: Tensor,
    x_zero: Tensor | None = None,
    w_zero: Tensor | None = None,
    *,
    window: Window,
    groups: int,
    wide: bool | None,
) -> Tensor:
    zero = None if w_zero is None else channelwise(w_zero, w.dim() - 1)
    return whole_convolution(shifted(x, x_zero), shifted(w, zero), None, window, groups, wide)


@operator("MatMulIntegerToFloat", since=(1,), domain=MICROSOFT)
def matmul_integer_to_float(node: Node) -> Bound:
    """com.microsoft MatMulIntegerToFloat-1: MatMulInteger, the scales of both sides, a bias."""
    wide = is_wide(node.constant(1), node.constant(5), -1) if _is_matrix(node, 1) else None
    return bind_operands(node, _matmul_integer_to_float, wide=wide)


def _matmul_integer_to_float(
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero: Tensor | None = None,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    wide: bool | None,
) -> Tensor:
    total = whole_matmul(shifted(a, a_zero), shifted(b, b_zero), None, wide)
    result = total * (a_scale * b_scale)
    return result if bias is None else result + bias


@operator("DynamicQuantizeMatMul", since=(1,), domain=MICROSOFT)
def dynamic_quantize_matmul(node: Node) -> Bound:
    """com.microsoft DynamicQuantizeMatMul-1: A is quantised by the range it has, then as above."""
    wide = is_wide(node.constant(1), node.constant(3), -1) if _is_matrix(node, 1) else None
    return bind_operands(node, _dynamic_quantize_matmul, wide=wide)


def _dynamic_quantize_matmul(
    a: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    wide: bool | None,
) -> Tensor:
    whole, scale, zero = dynamic_quantize(a)
    return _matmul_integer_to_float(whole, b, scale, b_scale, zero, b_zero, bias, wide=wide)


def _is_matrix(node: Node, index: int) -> bool:
    value = node.constant(index)
    return value is not None and value.dim() == 2
