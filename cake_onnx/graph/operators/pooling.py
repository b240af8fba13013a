"""MaxPool, AveragePool and the global ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.registry import MICROSOFT, Apply, Bound, Node, operator
from cake_onnx.graph.operators.unpooling import max_pool_indices
from cake_onnx.graph.operators.windows import (
    Window,
    pad_ends,
    pad_to_whole_windows,
    pad_window,
    pooling_window,
    window_mean,
)

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


@operator("MaxPool", since=(1, 8, 10, 11, 12, 22))
def max_pool(node: Node) -> Bound:
    """ONNX MaxPool-22: padding never wins, it is minus infinity. Places of maxima carry no gradient."""
    window = pooling_window(node)
    order = node.attribute("storage_order", 0)
    if node.outputs > 1:
        return node.bind(Apply(max_pool_indices, window=window, columns_first=bool(order)), 0)
    return node.bind(Apply(_max_pool, window=window), 0)


@operator("NhwcMaxPool", since=(1,), domain=MICROSOFT)
def max_pool_channels_last(node: Node) -> Bound:
    """com.microsoft NhwcMaxPool-1: MaxPool of `(B, *sizes, C)`."""
    window = pooling_window(node)
    return node.bind(Apply(_max_pool_channels_last, window=window), 0)


def _max_pool(x: Tensor, window: Window) -> Tensor:
    if not x.is_floating_point():
        # torch has no pooling of bytes; float32 holds them all.
        return _max_pool(x.to(torch.float32), window).to(x.dtype)
    pool = _MAX[len(window.kernel)]
    if window.padded_by_torch(window.spans()):
        pads = window.pads[: len(window.kernel)]
        return pool(x, window.kernel, window.strides, pads, window.dilations, ceil_mode=window.ceil)
    padded = pad_to_whole_windows(x, window, -math.inf)
    return pool(padded, window.kernel, window.strides, 0, window.dilations)


def _max_pool_channels_last(x: Tensor, window: Window) -> Tensor:
    return _max_pool(x.movedim(-1, 1), window).movedim(1, -1)


@operator("AveragePool", since=(1, 7, 10, 11, 19, 22))
def average_pool(node: Node) -> Bound:
    """ONNX AveragePool-22: padding counts only with `count_include_pad`; overhang never does."""
    window = pooling_window(node)
    with_pad = bool(node.attribute("count_include_pad", 0))
    return node.bind(Apply(_average_pool, window=window, with_pad=with_pad), 0)


def _average_pool(x: Tensor, window: Window, with_pad: bool) -> Tensor:
    if not window.dilated and window.padded_by_torch(window.kernel):
        pads = window.pads[: len(window.kernel)]
        average = _AVERAGE[len(window.kernel)]
        return average(x, window.kernel, window.strides, pads, window.ceil, with_pad)
    sizes = list(x.shape[2:])
    overhang = window.overhang(sizes)
    if not any(overhang) and (with_pad or not any(amount for side in window.sides(sizes) for amount in side)):
        return window_mean(pad_window(x, window), window)
    # Mean of x and mean of what counts, both over whole windows; their quotient divides by what counts.
    counted = torch.ones((1, 1, *sizes), dtype=x.dtype, device=x.device)
    if with_pad:
        weight = window_mean(pad_ends(pad_window(counted, window, 1.0), overhang, 0.0), window)
    else:
        weight = window_mean(pad_to_whole_windows(counted, window, 0.0), window)
    return window_mean(pad_to_whole_windows(x, window, 0.0), window) / weight


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
