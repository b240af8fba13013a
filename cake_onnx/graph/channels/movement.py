"""Where channels move: transposing, reshaping, joining, cutting apart."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from cake_onnx.graph.channels.follow import Labels, LostError, Walk, rule
from cake_onnx.graph.channels.items import Label
from cake_onnx.graph.wiring import attribute


@rule("Transpose")
def transpose(walk: Walk, node: NodeProto) -> None:
    """ONNX Transpose-13."""
    labels = walk.label(node.input[0])
    order = attribute(node, "perm", list(reversed(range(len(labels)))))
    walk.set(node.output[0], [labels[axis] for axis in order])  # type: ignore[attr-defined]


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(walk: Walk, node: NodeProto) -> None:
    """Any change of shape that keeps the order of elements: axes are split and flattened, see `Items`."""
    x, y = node.input[0], node.output[0]
    labels, sizes, wanted = walk.label(x), walk.shape(x), walk.shape(y)
    result: Labels = [None] * len(wanted)
    for ins, outs in blocks(sizes, wanted):
        mine = [labels[axis] for axis in ins]
        if all(label is None for label in mine):
            continue
        long = _flat([sizes[axis] for axis in ins], mine, walk)
        if len(outs) == 1:
            result[outs[0]] = long
        else:
            for axis, label in zip(outs, _split(long, [wanted[axis] for axis in outs], walk), strict=True):
                result[axis] = label
    walk.set(y, result)


def blocks(sizes: tuple[int, ...], wanted: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Smallest runs of axes on both sides that hold the same number of elements; axes of 1 are left out."""
    ins = [axis for axis, size in enumerate(sizes) if size != 1]
    outs = [axis for axis, size in enumerate(wanted) if size != 1]
    found = []
    while ins or outs:
        a, b = [ins.pop(0)] if ins else [], [outs.pop(0)] if outs else []
        while (left := _product(sizes, a)) != (right := _product(wanted, b)):
            if left < right and ins:
                a.append(ins.pop(0))
            elif outs:
                b.append(outs.pop(0))
            else:
                raise LostError("shapes of different sizes")
        found.append((a, b))
    return found


def _product(sizes: tuple[int, ...], axes: list[int]) -> int:
    return int(np.prod([sizes[axis] for axis in axes], dtype=np.int64))


def _flat(sizes: list[int], labels: Labels, walk: Walk) -> Label:
    """One label for several axes flattened into one."""
    if len(labels) == 1 and labels[0] is not None:
        return labels[0]
    grids = np.indices(sizes).reshape(len(sizes), -1)
    known = [(label, grid) for label, grid in zip(labels, grids, strict=True) if label is not None]
    if len(known) == 1:
        return np.asarray(known[0][0][known[0][1]])
    columns = np.stack([label[grid] for label, grid in known], axis=1)
    return np.array([walk.items.compose(row) for row in columns.tolist()], dtype=np.int64)


def _split(long: Label, sizes: list[int], walk: Walk) -> Labels:
    """Labels of the short axes that one long axis is split into."""
    grid = long.reshape(sizes)
    carrier = _only_carrier(grid, walk)
    if carrier is not None:
        index = tuple(slice(None) if axis == carrier else 0 for axis in range(len(sizes)))
        return [grid[index] if axis == carrier else None for axis in range(len(sizes))]
    short = [walk.items.new(size) for size in sizes]
    for item, place in zip(long.tolist(), np.indices(sizes).reshape(len(sizes), -1).T.tolist(), strict=True):
        parts = [int(label[i]) for label, i in zip(short, place, strict=True)]
        walk.items.unite(item, walk.items.compose(parts))
    return list(short)


def _only_carrier(grid: Label, walk: Walk) -> int | None:
    """The one axis that items depend on, as where an earlier flattening is undone."""
    roots = np.vectorize(walk.items.find, otypes=[np.int64])(grid)
    for axis in range(roots.ndim):
        moved = np.moveaxis(roots, axis, 0).reshape(roots.shape[axis], -1)
        if moved.shape[1] > 1 and (moved == moved[:, :1]).all():
            return axis
    return None


@rule("Concat")
def concat(walk: Walk, node: NodeProto) -> None:
    """ONNX Concat-13: labels are joined along the axis and run together along all others."""
    rank = len(walk.shape(node.output[0]))
    axis = int(attribute(node, "axis", 1)) % rank  # type: ignore[call-overload]
    result: Labels = []
    for place in range(rank):
        parts = [walk.label(name)[place] for name in node.input]
        if place == axis:
            result.append(_joined(parts, [walk.shape(name)[place] for name in node.input], walk))
            continue
        stored = [name for name in node.input if walk.constant(name) is not None]
        merged = parts[0]
        for name, label in zip(node.input, parts, strict=True):
            if name not in stored or len(stored) == len(node.input):
                merged = label if merged is None and parts[0] is None and node.input[0] in stored else merged
                merged = walk.unite(merged, label, f"Concat '{node.name}'") if label is not merged else merged
        result.append(merged)
    for name in node.input:
        if walk.constant(name) is not None:
            walk.set(name, [None if place == axis else label for place, label in enumerate(result)])
    walk.set(node.output[0], result)


def _joined(parts: Labels, sizes: list[int], walk: Walk) -> Label | None:
    if all(part is None for part in parts):
        return None
    whole = []
    for part, size in zip(parts, sizes, strict=True):
        if part is None:
            part = walk.items.new(size)
            walk.items.freeze(part, "joined with something that stays")
        whole.append(part)
    return np.concatenate(whole)


@rule("Split")
def split(walk: Walk, node: NodeProto) -> None:
    """ONNX Split-18: each part takes its stretch; `narrow` writes the new sizes down."""
    labels = walk.label(node.input[0])
    axis = int(attribute(node, "axis", 0)) % len(labels)  # type: ignore[call-overload]
    start = 0
    for name in node.output:
        size = walk.shape(name)[axis]
        label = labels[axis]
        part = None if label is None else label[start : start + size]
        if part is not None and size == 1:
            walk.items.freeze(part, f"Split '{node.name}' makes a part of it alone")
        walk.set(name, [part if place == axis else other for place, other in enumerate(labels)])
        start += size


@rule("Slice")
def take_slice(walk: Walk, node: NodeProto) -> None:
    """ONNX Slice-13: a labelled axis may only be cut in one stretch."""
    labels = walk.label(node.input[0])
    before, after = walk.shape(node.input[0]), walk.shape(node.output[0])
    result = list(labels)
    for axis, (size, left) in enumerate(zip(before, after, strict=True)):
        label = labels[axis]
        if size != left and label is not None:
            start = slice_start(walk, node, axis, size)
            result[axis] = label[start : start + left]
    walk.set(node.output[0], result)


def slice_start(walk: Walk, node: NodeProto, axis: int, size: int) -> int:
    """First index of a stored slice along one axis."""
    starts, axes, steps = (
        _listed(walk, node, place, name) for place, name in ((1, "starts"), (3, "axes"), (4, "steps"))
    )
    if starts is None:
        raise LostError("computed slices of channels")
    places = [entry % len(walk.shape(node.input[0])) for entry in axes or range(len(starts))]
    position = places.index(axis)
    if steps is not None and steps[position] != 1:
        raise LostError("slices of channels with a step")
    return max(0, starts[position] + size if starts[position] < 0 else starts[position])


def _listed(walk: Walk, node: NodeProto, place: int, name: str) -> list[int] | None:
    if len(node.input) > place and node.input[place]:
        value = walk.constant(node.input[place])
        return None if value is None else [int(entry) for entry in value.reshape(-1).tolist()]
    given = attribute(node, name)
    return None if given is None else [int(entry) for entry in given]  # type: ignore[attr-defined]


@rule("Gather")
def gather(walk: Walk, node: NodeProto) -> None:
    """ONNX Gather-13: rows chosen by stored indices; a single index keeps the axis it picks from whole."""
    labels = walk.label(node.input[0])
    axis = int(attribute(node, "axis", 0)) % len(labels)  # type: ignore[call-overload]
    index = walk.constant(node.input[1])
    label = labels[axis]
    put: Labels = [None] * len(walk.shape(node.input[1]))
    if label is not None:
        walk.items.freeze(label, f"Gather '{node.name}' picks from it")
        if index is not None and index.ndim == 1:
            put = [label[index.astype(np.int64)]]
    walk.set(node.output[0], [*labels[:axis], *put, *labels[axis + 1 :]])


@rule("Expand")
def expand(walk: Walk, node: NodeProto) -> None:
    """ONNX Expand-13: only axes of size 1 grow, and what they grow to stays; a stored token may shrink."""
    name = node.input[0]
    sizes, wanted = walk.shape(name), walk.shape(node.output[0])
    if walk.constant(name) is not None and name not in walk.labels:
        same = zip(sizes, wanted[len(wanted) - len(sizes) :], strict=True)
        walk.set(name, [walk.fresh(size) if size == grown else None for size, grown in same])
    bare: Labels = [None] * (len(wanted) - len(sizes))
    walk.set(node.output[0], bare + walk.label(name))


@rule("Pad")
def pad(walk: Walk, node: NodeProto) -> None:
    """ONNX Pad-13: only axes without channels may grow."""
    labels = walk.label(node.input[0])
    sizes, wanted = walk.shape(node.input[0]), walk.shape(node.output[0])
    if any(a != b and label is not None for a, b, label in zip(sizes, wanted, labels, strict=True)):
        raise LostError("padding of channels")
    walk.set(node.output[0], labels)


@rule("Shape", "Size", "Constant", "ConstantOfShape", "Range")
def unrelated(walk: Walk, node: NodeProto) -> None:
    """Nothing runs along what these make; sizes that they read are found anew after narrowing."""
    walk.set(node.output[0], [None] * len(walk.shape(node.output[0])))
