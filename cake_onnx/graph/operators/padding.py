"""Tensors made larger or smaller at their borders: Pad, CenterCropPad."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.dimensions import bind_integers
from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator

_MODES = ("constant", "reflect", "edge", "wrap")


@operator("Pad", since=(1, 2))
def pad_1(node: Node) -> Bound:
    """ONNX Pad-2: pads and value are attributes; version 1 calls the pads `paddings`."""
    pads = node.attribute("paddings" if node.version == 1 else "pads")
    if pads is None:
        raise DeclinedError("Pad without pads")
    return node.bind(
        Apply(_pad, pads=pads, axes=None, mode=_mode(node), value=node.attribute("value", 0.0)), 0
    )


@operator("Pad", since=(11, 13, 18, 19, 21, 23, 24, 25))
def pad(node: Node) -> Bound:
    """ONNX Pad-19: constant, reflect, edge and wrap; negative pads crop."""
    mode, value = _mode(node), node.constant(2)
    if node.has(2) and value is None:
        return bind_integers(node, _pad_computed, (0, 2), {"pads": 1, "axes": 3}, mode=mode)
    number = 0.0 if value is None else float(value)
    return bind_integers(node, _pad, (0,), {"pads": 1, "axes": 3}, mode=mode, value=number)


def _mode(node: Node) -> str:
    mode: str = node.attribute("mode", "constant")
    if mode not in _MODES:
        raise DeclinedError(f"padding mode {mode}")
    return mode


def _pad_computed(x: Tensor, value: Tensor, pads: list[int], axes: list[int] | None, mode: str) -> Tensor:
    padded = _pad(x, pads, axes, mode, 0.0)
    if mode != "constant":
        return padded
    inside = _pad(torch.ones(x.shape, dtype=torch.bool, device=x.device), pads, axes, mode, 0.0)
    return torch.where(inside, padded, value.reshape(()).to(x.dtype))


def _pad(x: Tensor, pads: list[int], axes: list[int] | None, mode: str, value: float) -> Tensor:
    half = len(pads) // 2
    axes = list(range(half)) if axes is None else [axis % x.dim() for axis in axes]
    sides = {axis: (pads[place], pads[place + half]) for place, axis in enumerate(axes)}
    if mode == "constant":
        return functional.pad(x, _torch_order(sides, x.dim()), value=value)
    for axis, (before, after) in sides.items():
        if before or after:
            # What a negative pad crops is gone before the border is continued.
            x = x.narrow(axis, max(-before, 0), x.shape[axis] - max(-before, 0) - max(-after, 0))
            places = _border_index(x.shape[axis], max(before, 0), max(after, 0), mode, x.device)
            x = x.index_select(axis, places)
    return x


def _torch_order(sides: dict[int, tuple[int, int]], rank: int) -> list[int]:
    """Pads as `torch.nn.functional.pad` wants them: last axis first."""
    return [value for axis in reversed(range(rank)) for value in sides.get(axis, (0, 0))]


def _border_index(size: int, before: int, after: int, mode: str, device: torch.device) -> Tensor:
    # Index arithmetic covers every rank and any amount, where functional.pad knows a few combinations only.
    places = torch.arange(-before, size + after, device=device)
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places % size
    period = max(2 * (size - 1), 1)
    folded = places % period
    return torch.where(folded >= size, period - folded, folded)


@operator("CenterCropPad", since=(18,))
def center_crop_pad(node: Node) -> Bound:
    """ONNX CenterCropPad-18: the middle of each axis, or zeros around it."""
    return bind_integers(node, _center_crop_pad, (0,), {"shape": 1}, axes=node.attribute("axes"))


def _center_crop_pad(x: Tensor, shape: list[int], axes: list[int] | None) -> Tensor:
    along = range(len(shape)) if axes is None else [axis % x.dim() for axis in axes]
    sides = {}
    for axis, size in zip(along, shape, strict=True):
        missing = size - x.shape[axis]
        # Both ways the odd one out is at the end.
        before = missing // 2 if missing > 0 else -(-missing // 2)
        sides[axis] = (before, missing - before)
    return functional.pad(x, _torch_order(sides, x.dim()))
