"""Where maxima were: the second output of MaxPool, and MaxUnpool, which reads it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.windows import Window, pad_to_whole_windows, pooling_window

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def max_pool_indices(x: Tensor, window: Window, columns_first: bool) -> tuple[Tensor, Tensor]:
    """ONNX MaxPool-22 with both outputs: maxima of `x (B, C, *sizes)`, and their places in all of `x`.

    Args:
        x: The input.
        window: Size and movement of the window.
        columns_first: The first spatial axis is counted fastest (`storage_order=1`).
    """
    sizes = list(x.shape[2:])
    padded = pad_to_whole_windows(x.to(torch.float32), window, -math.inf)
    found: tuple[Tensor, Tensor] = _MAX[len(sizes)](
        padded, window.kernel, window.strides, 0, window.dilations, return_indices=True
    )
    values, places = found
    along = []
    for size, (before, _) in reversed(list(zip(padded.shape[2:], window.sides(sizes), strict=True))):
        along.append(places % size - before)
        places = places // size
    # `along` starts with the last axis; the axis counted fastest comes last in this sum.
    flat = torch.zeros_like(places)
    for axis in range(len(sizes)) if not columns_first else reversed(range(len(sizes))):
        flat = flat * sizes[axis] + along[len(sizes) - 1 - axis]
    planes = torch.arange(x.shape[0] * x.shape[1], device=x.device).reshape(*x.shape[:2], *[1] * len(sizes))
    return values.to(x.dtype), flat + planes * math.prod(sizes)


@operator("MaxUnpool", since=(9, 11, 22))
def max_unpool(node: Node) -> Bound:
    """ONNX MaxUnpool-22: values put where the indices say, zero elsewhere."""
    window = pooling_window(node)
    if node.has(2):
        # The places count in the pooled tensor, whose size would then not be known for certain.
        raise DeclinedError("MaxUnpool with an output_shape")
    return node.bind(Apply(_max_unpool, window=window), 0, 1)


def _max_unpool(x: Tensor, indices: Tensor, window: Window) -> Tensor:
    pads = zip(window.sides(list(x.shape[2:])), window.strides, window.kernel, x.shape[2:], strict=True)
    sizes = [(size - 1) * stride + span - sum(side) for side, stride, span, size in pads]
    empty = torch.zeros(x.shape[0] * x.shape[1] * math.prod(sizes), dtype=x.dtype, device=x.device)
    filled = empty.scatter(0, indices.reshape(-1).to(torch.int64), x.reshape(-1))
    return filled.reshape(*x.shape[:2], *sizes)
