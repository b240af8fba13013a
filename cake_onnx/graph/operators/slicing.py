"""Tensors cut apart and put together: Slice, Split, Concat."""

from __future__ import annotations

import torch
from torch import Tensor

from cake_onnx.graph.operators.dimensions import bind_integers
from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator


@operator("Slice", since=(1,))
def slice_1(node: Node) -> Bound:
    """ONNX Slice-1: starts, ends and axes are attributes, there are no steps."""
    bounds = {name: node.attribute(name) for name in ("starts", "ends", "axes")}
    return node.bind(Apply(_slice, **bounds, steps=None), 0)


@operator("Slice", since=(10, 11, 13))
def slice_10(node: Node) -> Bound:
    """ONNX Slice-13: starts, ends, axes and steps are inputs; negative steps walk backwards."""
    return bind_integers(node, _slice, (0,), {"starts": 1, "ends": 2, "axes": 3, "steps": 4})


def _slice(
    x: Tensor, starts: list[int], ends: list[int], axes: list[int] | None, steps: list[int] | None
) -> Tensor:
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis % x.dim()
        places = _places(start, end, step, x.shape[axis])
        if step > 0:
            x = x[(*[slice(None)] * axis, slice(places.start, places.stop, step))]
        else:
            # torch has no negative steps.
            x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64, device=x.device))
    return x


def _places(start: int, end: int, step: int, size: int) -> range:
    """Places along an axis; ONNX clamps a start into the axis where Python's slices let it lie before it."""
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if step > 0:
        start, end = min(max(start, 0), size), min(max(end, 0), size)
        return range(start, max(start, end), step)
    start, end = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    return range(start, end, step)


@operator("Split", since=(2, 11))
def split_2(node: Node) -> Bound:
    """ONNX Split-11: sizes as an attribute, or equal parts."""
    options = {"sizes": node.attribute("split"), "axis": node.attribute("axis", 0), "uneven": False}
    return node.bind(Apply(_split, parts=node.outputs, **options), 0)


@operator("Split", since=(1, 13, 18))
def split(node: Node) -> Bound:
    """ONNX Split-18: sizes as an input, or equal parts of which the last may be smaller.

    Version 1 takes the sizes either way.
    """
    node.ignore("num_outputs")  # the outputs are counted
    sizes = node.attribute("split") if node.version == 1 else None
    options = {"parts": node.outputs, "axis": node.attribute("axis", 0), "uneven": node.version >= 18}
    if sizes is not None:
        return node.bind(Apply(_split, sizes=sizes, **options), 0)
    return bind_integers(node, _split, (0,), {"sizes": 1}, **options)


def _split(
    x: Tensor, sizes: list[int] | None, parts: int, axis: int, uneven: bool
) -> tuple[Tensor, ...] | Tensor:
    if sizes is None:
        each = -(-x.shape[axis] // parts)
        last = x.shape[axis] - each * (parts - 1)
        if last < 0 or (last != each and not uneven):
            raise ValueError(f"an axis of {x.shape[axis]} split into {parts} parts")
        sizes = [each] * (parts - 1) + [last]
    pieces = tuple(torch.split(x, sizes, dim=axis))
    # A module of one output gives the tensor itself.
    return pieces[0] if parts == 1 else pieces


@operator("Concat", since=(1, 4, 11, 13))
def concat(node: Node) -> Bound:
    """ONNX Concat-13; in version 1 the axis may be left out and is 1."""
    axis = node.attribute("axis", 1 if node.version == 1 else None)
    if axis is None:
        raise DeclinedError("Concat without an axis")
    return node.bind(Apply(_concat, axis=axis), *range(len(node.inputs)))


def _concat(*tensors: Tensor, axis: int) -> Tensor:
    return torch.cat(tensors, dim=axis)
