"""Parts of tensors: Slice, Split, Gather, Pad."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator


@operator("Slice", since=(1,))
def slice_1(node: Node) -> Bound:
    """ONNX Slice-1: starts, ends and axes are attributes, there are no steps."""
    starts, ends = node.attribute("starts"), node.attribute("ends")
    axes = node.attribute("axes") or list(range(len(starts)))
    return node.bind(Apply(_slice, starts=starts, ends=ends, axes=axes, steps=[1] * len(starts)), 0)


@operator("Slice", since=(10, 11, 13))
def slice_10(node: Node) -> Bound:
    """ONNX Slice-13: starts, ends, axes and steps are inputs; negative steps walk backwards."""
    fixed = [node.integers(index) for index in (1, 2, 3, 4)]
    if all(value is not None or not node.has(index) for index, value in enumerate(fixed, start=1)):
        starts, ends, axes, steps = fixed
        if starts is None or ends is None:
            raise DeclinedError("no starts or ends")
        axes = axes if axes is not None else list(range(len(starts)))
        return node.bind(
            Apply(_slice, starts=starts, ends=ends, axes=axes, steps=steps or [1] * len(starts)), 0
        )
    if node.has(4) and not node.has(3):
        raise DeclinedError("computed slice bounds with steps but without axes")
    return node.bind(Apply(_slice_like), 0, 1, 2, 3, 4)


def _slice_like(
    x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    first = starts.tolist()
    along = list(range(len(first))) if axes is None else axes.tolist()
    by = [1] * len(first) if steps is None else steps.tolist()
    return _slice(x, first, ends.tolist(), along, by)


def _slice(x: Tensor, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Tensor:
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step > 0:
            index = [slice(None)] * (axis % x.dim()) + [slice(start, end, step)]
            x = x[tuple(index)]
        else:
            # torch has no negative steps; Python's own rules for them are the ones ONNX gives.
            size = x.shape[axis]
            chosen = range(*_backwards(start, end, step, size))
            x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64, device=x.device))
    return x


def _backwards(start: int, end: int, step: int, size: int) -> tuple[int, int, int]:
    start = min(start + size if start < 0 else start, size - 1)
    end = max(end + size, -1) if end < 0 else end
    return start, end, step


@operator("Split", since=(2, 11, 13, 18))
def split(node: Node) -> Bound:
    """ONNX Split-18: given sizes, or equal parts of which the last may be smaller."""
    node.ignore("num_outputs")  # the outputs are counted
    sizes = node.integers(1) if node.has(1) else node.attribute("split")
    if node.has(1) and sizes is None:
        raise DeclinedError("computed split sizes")
    return node.bind(Apply(_split, axis=node.attribute("axis", 0), sizes=sizes, parts=node.outputs), 0)


def _split(x: Tensor, axis: int, sizes: list[int] | None, parts: int) -> tuple[Tensor, ...] | Tensor:
    if sizes is None:
        sizes_or_size: int | list[int] = -(-x.shape[axis] // parts)
    else:
        sizes_or_size = sizes
    pieces = tuple(torch.split(x, sizes_or_size, dim=axis))
    return pieces[0] if parts == 1 else pieces


@operator("Gather", since=(1, 11, 13))
def gather(node: Node) -> Bound:
    """ONNX Gather-13: rows of `axis` by index, negative ones from the end; the index's shape is put there."""
    axis = node.attribute("axis", 0)
    index = node.constant(1)
    if index is not None and index.numel() == 1:
        return node.bind(Apply(_select, axis=axis, index=int(index), keep=index.dim()), 0)
    return node.bind(Apply(_gather, axis=axis), 0, 1)


def _select(x: Tensor, axis: int, index: int, keep: int) -> Tensor:
    chosen = x.select(axis, index)
    for _ in range(keep):
        chosen = chosen.unsqueeze(axis % x.dim())
    return chosen


def _gather(x: Tensor, index: Tensor, axis: int) -> Tensor:
    axis = axis % x.dim()
    index = index.to(device=x.device, dtype=torch.int64)
    index = torch.where(index < 0, index + x.shape[axis], index)
    rows = x.index_select(axis, index.reshape(-1))
    return rows.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


@operator("Pad", since=(2, 11, 13, 18, 19, 21, 23, 24, 25))
def pad(node: Node) -> Bound:
    """ONNX Pad-19: constant, reflect, edge and wrap; negative pads crop."""
    pads = node.attribute("pads") if node.version < 11 else node.integers(1)
    value = node.attribute("value", 0.0) if node.version < 11 else node.constant(2)
    axes = node.integers(3)
    computed_value = node.has(2) and node.version >= 11 and value is None
    if pads is None or computed_value or (node.has(3) and axes is None):
        raise DeclinedError("computed padding")
    mode = node.attribute("mode", "constant")
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    if mode not in modes:
        raise DeclinedError(f"padding mode {mode}")
    number = 0.0 if value is None else float(value)
    return node.bind(Apply(_pad, pads=pads, axes=axes, mode=modes[mode], value=number), 0)


def _pad(x: Tensor, pads: list[int], axes: list[int] | None, mode: str, value: float) -> Tensor:
    axes = list(range(len(pads) // 2)) if axes is None else [axis % x.dim() for axis in axes]
    half = len(pads) // 2
    sides = {axis: (pads[place], pads[place + half]) for place, axis in enumerate(axes)}
    if mode == "constant":
        return functional.pad(x, _torch_order(sides, x.dim(), 0), value=value)
    for axis, (before, after) in sides.items():
        if before or after:
            x = x.index_select(axis, _border_index(x.shape[axis], before, after, mode, x.device))
    return x


def _torch_order(sides: dict[int, tuple[int, int]], rank: int, first: int) -> list[int]:
    """Pads as `torch.nn.functional.pad` wants them: last axis first."""
    return [value for axis in reversed(range(first, rank)) for value in sides.get(axis, (0, 0))]


def _border_index(size: int, before: int, after: int, mode: str, device: torch.device) -> Tensor:
    # Index arithmetic covers every rank and any amount, where functional.pad knows a few combinations only.
    places = torch.arange(-before, size + after, device=device)
    if mode == "replicate":
        return places.clamp(0, size - 1)
    if mode == "circular":
        return places % size
    period = max(2 * (size - 1), 1)
    folded = places % period
    return torch.where(folded >= size, period - folded, folded)
