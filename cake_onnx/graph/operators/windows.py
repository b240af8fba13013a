"""Sliding windows: what Conv, MaxPool and AveragePool share (ONNX Conv-22, `auto_pad` and `pads`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.registry import DeclinedError, Node


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
        blank = cls(
            [],
            node.attribute("strides") or [],
            node.attribute("dilations") or [],
            (node.attribute("pads") or []) if auto_pad == "NOTSET" else [],
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
        return not self.auto_pad.startswith("SAME") and self.pads[:rank] == self.pads[rank:]

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


def pad_window(x: Tensor, window: Window, value: float = 0.0) -> Tensor:
    """Pad the spatial axes of `x (B, C, *sizes)` as the window asks."""
    sides = window.sides(list(x.shape[2:]))
    flat = [amount for side in reversed(sides) for amount in side]
    return functional.pad(x, flat, value=value) if any(flat) else x
