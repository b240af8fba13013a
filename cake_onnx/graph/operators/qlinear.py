"""QLinearConv, QLinearMatMul and QGemm: sums of whole numbers, rescaled and rounded again."""

from __future__ import annotations

import torch
from torch import Tensor

from cake_onnx.graph.operators.integer import (
    channelwise,
    down_rows,
    is_wide,
    whole_convolution,
    whole_matmul,
)
from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.quantisation import limits_of, shifted, to_whole
from cake_onnx.graph.operators.registry import MICROSOFT, Bound, Node, operator
from cake_onnx.graph.operators.windows import Window


@operator("QLinearConv", since=(10,))
@operator("QLinearConv", since=(1,), domain=MICROSOFT)
def qlinear_conv(node: Node) -> Bound:
    """ONNX QLinearConv-10 and com.microsoft QLinearConv-1, which can have its channels last."""
    node.ignore("kernel_shape")  # the weight says it
    wide = is_wide(node.constant(3), node.constant(5), 0, node.constant(8))
    return bind_operands(
        node,
        _qlinear_conv,
        limits=limits_of(node.element_type(7)),
        window=Window.of(node, []),
        groups=node.attribute("group", 1),
        channels_last=bool(node.attribute("channels_last", 0)),
        wide=wide,
    )


def _qlinear_conv(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
    *,
    limits: tuple[float, float],
    window: Window,
    groups: int,
    channels_last: bool,
    wide: bool | None,
) -> Tensor:
    rank = w.dim() - 2
    centred = shifted(x, x_zero)
    if channels_last:
        centred = centred.movedim(-1, 1)
    weight = shifted(w, channelwise(w_zero, rank + 1))
    total = whole_convolution(centred, weight, bias, window, groups, wide)
    # The order of these products is onnxruntime's, to the last bit.
    factor = channelwise(x_scale * w_scale / y_scale, rank)
    whole = to_whole(total * factor, y_zero, limits)
    return whole.movedim(1, -1) if channels_last else whole


@operator("QLinearMatMul", since=(10, 21))
def qlinear_matmul(node: Node) -> Bound:
    """ONNX QLinearMatMul-21: scales for all, for each row of A and Y, for each column of B."""
    b = node.constant(3)
    wide = is_wide(b, node.constant(5), -1) if b is not None and b.dim() == 2 else None
    return bind_operands(node, _qlinear_matmul, limits=limits_of(node.element_type(7)), wide=wide)


def _qlinear_matmul(
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    *,
    limits: tuple[float, float],
    wide: bool | None,
) -> Tensor:
    total = whole_matmul(shifted(a, down_rows(a_zero)), shifted(b, b_zero), None, wide)
    factor = down_rows(a_scale) * b_scale / down_rows(y_scale)
    return to_whole(total * factor, down_rows(y_zero), limits)


@operator("QGemm", since=(1,), domain=MICROSOFT)
def qgemm(node: Node) -> Bound:
    """com.microsoft QGemm-1: alpha·A·B + C, a float where no output scale is given."""
    flip_a, flip_b = bool(node.attribute("transA", 0)), bool(node.attribute("transB", 0))
    b, bias = node.constant(3), node.constant(6)
    wide = is_wide(b, node.constant(5), 0 if flip_b else 1, bias)
    if node.has(6) and bias is None:
        wide = None
    return bind_operands(
        node,
        _qgemm,
        limits=limits_of(node.element_type(8)) if node.has(8) else None,
        alpha=float(node.attribute("alpha", 1.0)),
        flip_a=flip_a,
        flip_b=flip_b,
        wide=wide,
    )


def _qgemm(
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    bias: Tensor | None = None,
    y_scale: Tensor | None = None,
    y_zero: Tensor | None = None,
    *,
    limits: tuple[float, float] | None,
    alpha: float,
    flip_a: bool,
    flip_b: bool,
    wide: bool | None,
) -> Tensor:
    first, second = shifted(a, a_zero), b.T.to(torch.float32) if flip_b else b.to(torch.float32)
    total = whole_matmul(first.T if flip_a else first, shifted(second, b_zero), bias, wide)
    factor = alpha * a_scale * b_scale
    if y_scale is None or limits is None:
        return total * factor
    return to_whole(total * (factor / y_scale), 0.0 if y_zero is None else y_zero, limits)
