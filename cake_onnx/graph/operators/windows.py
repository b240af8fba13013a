"""Sliding windows: what convolutions and pools share (ONNX Conv-22, `auto_pad`, `pads` and `ceil_mode`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.registry import DeclinedError, Node

_MEAN = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@dataclass(frozen=True)
class Window:
    """Size and movement of a window; lists have an entry a spatial axis, `pads` two (starts, then ends)."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: list[int]
    auto_pad: str
    ceil: bool

    @classmethod
    def of(cls, node: Node, kernel: list[int]) -> Window:
        """Read the attributes of a node, defaults filled in.

        Raises:
            DeclinedError: `auto_pad` has an unknown value.
        """
        auto_pad = node.attribute("auto_pad", "NOTSET")
        if auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
            raise DeclinedError(f"auto_pad={auto_pad}")
        pads = node.attribute("pads") or []
        blank = cls(
            [],
            node.attribute("strides") or [],
            node.attribute("dilations") or [],
            pads if auto_pad == "NOTSET" else [],
            auto_pad,
            bool(node.attribute("ceil_mode", 0)),
        )
        return blank.with_kernel(kernel)

    def with_kernel(self, kernel: list[int]) -> Window:
        """The window with a kernel size and with defaults for what depends on its rank."""
        rank = len(kernel)
        return replace(
            self,
            kernel=list(kernel),
            strides=self.strides or [1] * rank,
            dilations=self.dilations or [1] * rank,
            pads=self.pads or [0] * (2 * rank),
        )

    @property
    def symmetric(self) -> bool:
        """Whether the padding is the same on both sides and known without the input size."""
        rank = len(self.kernel)
        known = not self.auto_pad.startswith("SAME") and min(self.pads, default=0) >= 0
        return known and self.pads[:rank] == self.pads[rank:]

    @property
    def dilated(self) -> bool:
        """Whether a window leaves positions out."""
        return any(dilation != 1 for dilation in self.dilations)

    def padded_by_torch(self, sizes: list[int]) -> bool:
        """Whether torch's own pooling can do the padding: equal sides, at most half of `sizes`."""
        halves = zip(self.pads, sizes, strict=False)
        return self.symmetric and all(2 * pad <= size for pad, size in halves)

    def spans(self) -> list[int]:
        """Input positions that one window covers, along each axis."""
        return [dilation * (size - 1) + 1 for size, dilation in zip(self.kernel, self.dilations, strict=True)]

    def sides(self, sizes: list[int]) -> list[tuple[int, int]]:
        """Padding before and after each axis for an input of these sizes."""
        rank = len(self.kernel)
        if not self.auto_pad.startswith("SAME"):
            return list(zip(self.pads[:rank], self.pads[rank:], strict=True))
        sides = []
        for size, stride, span in zip(sizes, self.strides, self.spans(), strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + span - size, 0)
            small, large = total // 2, total - total // 2
            sides.append((small, large) if self.auto_pad == "SAME_UPPER" else (large, small))
        return sides

    def overhang(self, sizes: list[int]) -> list[int]:
        """How far the last window of each axis reaches over the padded end (`ceil_mode`)."""
        reach = []
        for size, side, span, stride in zip(
            sizes, self.sides(sizes), self.spans(), self.strides, strict=True
        ):
            padded = size + sum(side)
            if not self.ceil:
                reach.append(0)
                continue
            count = math.ceil((padded - span) / stride) + 1
            # A window that would start in the right padding is dropped, as onnxruntime does.
            if (count - 1) * stride >= size + side[0]:
                count -= 1
            reach.append(max((count - 1) * stride + span - padded, 0))
        return reach


def pooling_window(node: Node) -> Window:
    """The window of a pool.

    Raises:
        DeclinedError: It has more than three axes, or its padding is in doubt.
    """
    window = Window.of(node, require_rank(node.attribute("kernel_shape")))
    if window.dilated and window.auto_pad.startswith("SAME"):
        # onnxruntime pads as if there were no dilation, the specification wants the dilated size.
        raise DeclinedError(f"{node.op_type} with dilations and auto_pad={window.auto_pad}")
    return window


def require_rank(kernel: list[int] | None) -> list[int]:
    """The kernel size, if it has one to three axes.

    Raises:
        DeclinedError: It has more, or is missing.
    """
    if kernel is None or len(kernel) not in _CONVOLVE:
        raise DeclinedError(f"a window of shape {kernel}")
    return list(kernel)


def pad_window(x: Tensor, window: Window, value: float = 0.0) -> Tensor:
    """Pad the spatial axes of `x (B, C, *sizes)` as the window asks."""
    sides = window.sides(list(x.shape[2:]))
    flat = [amount for side in reversed(sides) for amount in side]
    return functional.pad(x, flat, value=value) if any(flat) else x


def pad_ends(x: Tensor, ends: list[int], value: float) -> Tensor:
    """Pad the spatial axes of `x (B, C, *sizes)` at their ends."""
    flat = [amount for end in reversed(ends) for amount in (0, end)]
    return functional.pad(x, flat, value=value) if any(flat) else x


def pad_to_whole_windows(x: Tensor, window: Window, value: float) -> Tensor:
    """Pad `x (B, C, *sizes)` as the window asks and so far that `ceil_mode` makes no difference."""
    return pad_ends(pad_window(x, window, value), window.overhang(list(x.shape[2:])), value)


def window_mean(x: Tensor, window: Window) -> Tensor:
    """Mean over each window of `x (B, C, *sizes)`, which is padded already."""
    rank = len(window.kernel)
    if not window.dilated:
        return _MEAN[rank](x, window.kernel, window.strides)
    # torch averages neighbours only; with gaps, the mean is a convolution of every channel alone.
    weight = torch.full((1, 1, *window.kernel), 1 / math.prod(window.kernel), dtype=x.dtype, device=x.device)
    planes = x.reshape(-1, 1, *x.shape[2:])
    mean = _CONVOLVE[rank](planes, weight, stride=window.strides, dilation=window.dilations)
    return mean.reshape(*x.shape[:2], *mean.shape[2:])
