"""The QLinear operators of com.microsoft without weights: whole numbers in and out, floats between.

onnxruntime's quantiser and its graph optimiser write them. Each is computed in the order of onnxruntime's own
CPU kernel, so that the same halves are rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from onnx import TensorProto
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.pooling import average_pool
from cake_onnx.graph.operators.quantisation import limits_of, shifted, to_whole
from cake_onnx.graph.operators.registry import MICROSOFT, Bound, Node, operator

Limits = tuple[float, float]


def _limits(node: Node, *positions: int) -> Limits:
    """Limits of the first of the inputs whose element type is known; all of them have the same."""
    codes = [node.element_type(position) for position in positions]
    return limits_of(next((code for code in codes if code), TensorProto.UNDEFINED))


def _real(whole: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    return shifted(whole, zero) * scale


def _whole(real: Tensor, scale: Tensor, zero: Tensor | None, limits: Limits) -> Tensor:
    return to_whole(real / scale, _or_zero(zero, scale), limits)


@operator("QLinearAdd", since=(1,), domain=MICROSOFT)
@operator("QLinearMul", since=(1,), domain=MICROSOFT)
def qlinear_pair(node: Node) -> Bound:
    """com.microsoft QLinearAdd-1 and QLinearMul-1, with broadcasting."""
    function = _add if node.op_type == "QLinearAdd" else _multiply
    return bind_operands(node, function, limits=_limits(node, 7, 2, 5, 0, 3))


def _add(
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None,
    c_scale: Tensor,
    c_zero: Tensor | None = None,
    *,
    limits: Limits,
) -> Tensor:
    a_ratio, b_ratio = a_scale / c_scale, b_scale / c_scale
    fixed = -_fused(_or_zero(a_zero, a_scale), a_ratio, b_ratio * _or_zero(b_zero, b_scale))
    fixed = fixed + _or_zero(c_zero, c_scale)
    # The zero point is inside the rounding: halves go to the even one of the shifted numbers.
    total = _fused(a, a_ratio, _fused(b, b_ratio, fixed))
    return to_whole(total, 0.0, limits)


def _multiply(
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None,
    c_scale: Tensor,
    c_zero: Tensor | None = None,
    *,
    limits: Limits,
) -> Tensor:
    product = shifted(a, a_zero) * shifted(b, b_zero)
    return to_whole(product * (a_scale * b_scale / c_scale) + _or_zero(c_zero, c_scale), 0.0, limits)


def _fused(a: Tensor, factor: Tensor, added: Tensor) -> Tensor:
    """`a · factor + added`, rounded once to float32, as processors do it that onnxruntime is compiled for."""
    return (a.to(torch.float64) * factor + added).to(torch.float32)


def _or_zero(zero: Tensor | None, scale: Tensor) -> Tensor:
    return torch.zeros_like(scale) if zero is None else zero


@operator("QLinearSigmoid", since=(1,), domain=MICROSOFT)
@operator("QLinearLeakyRelu", since=(1,), domain=MICROSOFT)
def qlinear_activation(node: Node) -> Bound:
    """com.microsoft QLinearSigmoid-1 and QLinearLeakyRelu-1: tables over 256 numbers in onnxruntime."""
    slope = float(node.attribute("alpha", 0.01)) if node.op_type == "QLinearLeakyRelu" else None
    return bind_operands(node, _activate, slope=slope, limits=_limits(node, 4, 2, 0))


def _activate(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
    *,
    slope: float | None,
    limits: Limits,
) -> Tensor:
    real = _real(x, x_scale, x_zero)
    active = torch.sigmoid(real) if slope is None else functional.leaky_relu(real, slope)
    return _whole(active, y_scale, y_zero, limits)


@operator("QLinearSoftmax", since=(1,), domain=MICROSOFT)
def qlinear_softmax(node: Node) -> Bound:
    """com.microsoft QLinearSoftmax-1: before opset 13 over all axes from `axis` on, else over that one."""
    return bind_operands(
        node,
        _softmax,
        axis=node.attribute("axis", -1),
        flat=node.attribute("opset") < 13,
        limits=_limits(node, 4, 2, 0),
    )


def _softmax(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
    *,
    axis: int,
    flat: bool,
    limits: Limits,
) -> Tensor:
    real = _real(x, x_scale, x_zero)
    share = real.flatten(axis).softmax(dim=-1).reshape(real.shape) if flat else real.softmax(dim=axis)
    # onnxruntime scales by a whole number of steps.
    return to_whole(share * torch.floor(1.0 / y_scale), _or_zero(y_zero, y_scale), limits)


@operator("QLinearConcat", since=(1,), domain=MICROSOFT)
def qlinear_concat(node: Node) -> Bound:
    """com.microsoft QLinearConcat-1: the scale and zero point of the result, then three inputs a part."""
    return bind_operands(node, _concat, axis=node.attribute("axis"), limits=_limits(node, 1))


def _concat(y_scale: Tensor, y_zero: Tensor, *parts: Tensor, axis: int, limits: Limits) -> Tensor:
    triples = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return torch.cat([_whole(_real(*triple), y_scale, y_zero, limits) for triple in triples], dim=axis)


@operator("QLinearWhere", since=(1,), domain=MICROSOFT)
def qlinear_where(node: Node) -> Bound:
    """com.microsoft QLinearWhere-1."""
    return bind_operands(node, _where, limits=_limits(node, 8))


def _where(
    condition: Tensor,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    y: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    z_scale: Tensor,
    z_zero: Tensor,
    *,
    limits: Limits,
) -> Tensor:
    first = _whole(_real(x, x_scale, x_zero), z_scale, z_zero, limits)
    second = _whole(_real(y, y_scale, y_zero), z_scale, z_zero, limits)
    return torch.where(condition.to(torch.bool), first, second)


@operator("QLinearAveragePool", since=(1,), domain=MICROSOFT)
def qlinear_average_pool(node: Node) -> Bound:
    """com.microsoft QLinearAveragePool-1."""
    average = average_pool(node).module  # the attributes are those of AveragePool
    last = bool(node.attribute("channels_last", 0))
    return bind_operands(node, _pool, average=average, channels_last=last, limits=_limits(node, 4, 2, 0))


def _pool(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
    *,
    average: Callable[[Tensor], Tensor],
    channels_last: bool,
    limits: Limits,
) -> Tensor:
    real = _real(x, x_scale, x_zero)
    mean = average(real.movedim(-1, 1)).movedim(1, -1) if channels_last else average(real)
    # onnxruntime adds the zero point before it rounds, here but not in its tables.
    return to_whole(mean / y_scale + _or_zero(y_zero, y_scale), 0.0, limits)


@operator("QLinearGlobalAveragePool", since=(1,), domain=MICROSOFT)
def qlinear_global_average_pool(node: Node) -> Bound:
    """com.microsoft QLinearGlobalAveragePool-1."""
    last = bool(node.attribute("channels_last", 0))
    return bind_operands(node, _global_pool, channels_last=last, limits=_limits(node, 4, 2, 0))


def _global_pool(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
    *,
    channels_last: bool,
    limits: Limits,
) -> Tensor:
    axes = list(range(1, x.dim() - 1)) if channels_last else list(range(2, x.dim()))
    count = math.prod(x.shape[axis] for axis in axes)
    total = shifted(x, x_zero).sum(dim=axes, keepdim=True)
    return to_whole(total * (x_scale / (y_scale * count)), _or_zero(y_zero, y_scale), limits)
