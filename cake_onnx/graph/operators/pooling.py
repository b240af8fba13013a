"""MaxPool, AveragePool and the global ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.windows import Window, pad_window

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


@operator("MaxPool", since=(1, 8, 10, 11, 12, 22))
def max_pool(node: Node) -> Bound:
    """ONNX MaxPool-22 without the second output (indices). Padding never wins: it is minus infinity."""
    if node.outputs > 1:
        raise DeclinedError("the indices of its second output")
    node.ignore("storage_order")  # of the indices
    return node.bind(Apply(_max_pool, window=_window(node)), 0)


def _max_pool(x: Tensor, window: Window) -> Tensor:
    padded = _pad_to_whole_windows(x, window, -math.inf)
    pool = _MAX[len(window.kernel)]
    return pool(padded, window.kernel, window.strides, 0, window.dilations)


@operator("AveragePool", since=(1, 7, 10, 11, 19, 22))
def average_pool(node: Node) -> Bound:
    """ONNX AveragePool-22: padding counts only with `count_include_pad`; overhang never does."""
    window = _window(node)
    if any(dilation != 1 for dilation in window.dilations):
        raise DeclinedError("a dilated average")
    return node.bind(
        Apply(_average_pool, window=window, with_pad=bool(node.attribute("count_include_pad", 0))), 0
    )


def _average_pool(x: Tensor, window: Window, with_pad: bool) -> Tensor:
    sides = window.sides(list(x.shape[2:]))
    overhang = _overhang(x, window)
    if not any(overhang) and (with_pad or not any(amount for side in sides for amount in side)):
        return _mean(pad_window(x, window), window)
    # Mean of x and mean of what counts, both over whole windows; their quotient divides by what counts.
    counted = torch.ones_like(x[:1, :1])
    if with_pad:
        counted = pad_window(counted, window, 1.0)
        weight = _mean(_pad_ends(counted, overhang, 0.0), window)
    else:
        weight = _mean(_pad_to_whole_windows(counted, window, 0.0), window)
    return _mean(_pad_to_whole_windows(x, window, 0.0), window) / weight


def _mean(x: Tensor, window: Window) -> Tensor:
    return _AVERAGE[len(window.kernel)](x, window.kernel, window.strides)


def _window(node: Node) -> Window:
    kernel = node.attribute("kernel_shape")
    if kernel is None or len(kernel) not in _MAX:
        raise DeclinedError(f"a window of shape {kernel}")
    return Window.of(node, kernel)


def _overhang(x: Tensor, window: Window) -> list[int]:
    """How far the last window of each axis reaches over the padded end (`ceil_mode`)."""
    reach = []
    sides = window.sides(list(x.shape[2:]))
    for size, side, span, stride in zip(x.shape[2:], sides, window.spans(), window.strides, strict=True):
        padded = size + sum(side)
        if not window.ceil:
            reach.append(0)
            continue
        count = math.ceil((padded - span) / stride) + 1
        # A window that would start in the right padding is dropped, as onnxruntime does.
        if (count - 1) * stride >= size + side[0]:
            count -= 1
        reach.append(max((count - 1) * stride + span - padded, 0))
    return reach


def _pad_to_whole_windows(x: Tensor, window: Window, value: float) -> Tensor:
    return _pad_ends(pad_window(x, window, value), _overhang(x, window), value)


def _pad_ends(x: Tensor, ends: list[int], value: float) -> Tensor:
    flat = [amount for end in reversed(ends) for amount in (0, end)]
    return functional.pad(x, flat, value=value) if any(flat) else x


@operator("GlobalAveragePool", since=(1, 22))
def global_average_pool(node: Node) -> Bound:
    """ONNX GlobalAveragePool-22: mean over all spatial axes, which stay with size 1."""
    return node.bind(Apply(_global_mean), 0)


def _global_mean(x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.dim())), keepdim=True) if x.dim() > 2 else x


@operator("GlobalMaxPool", since=(1, 22))
def global_max_pool(node: Node) -> Bound:
    """ONNX GlobalMaxPool-22."""
    return node.bind(Apply(_global_max), 0)


def _global_max(x: Tensor) -> Tensor:
    return x.amax(dim=tuple(range(2, x.dim())), keepdim=True) if x.dim() > 2 else x
