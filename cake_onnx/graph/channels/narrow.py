"""A graph without some of its channels: weights sliced, and the sizes that nodes state written anew."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import count

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

from cake_onnx.graph.channels.follow import Channels
from cake_onnx.graph.channels.items import Label
from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import RECURRENT, Wiring, attribute, groups_of

Array = npt.NDArray[np.generic]


def narrow(channels: Channels, dropped: Collection[int]) -> ModelProto:
    """The graph of `channels` without the simple items `dropped`.

    Weights keep the values that `channels.model` holds. No masked zeros stay: every weight is as small as its
    labels say, and reshape targets, split sizes, slices, group counts and indices are those of the new sizes.
    """
    gone = frozenset(dropped)
    keep = Keeper(channels, gone)
    result = copy_model(channels.model)
    for tensor in result.graph.initializer:
        masks = keep.masks(tensor.name)
        if any(mask is not None and not mask.all() for mask in masks):
            values = numpy_helper.to_array(tensor)
            for axis, mask in enumerate(masks):
                if mask is not None:
                    values = values.compress(mask, axis=axis)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    del result.graph.value_info[:]
    for node in list(result.graph.node):
        rewrite = _REWRITES.get(node.op_type)
        if rewrite is not None and not node.domain:
            rewrite(result, node, keep)
    _drop_unread(result)
    return result


class Keeper:
    """What is kept of every axis."""

    def __init__(self, channels: Channels, gone: frozenset[int]) -> None:
        self.channels = channels
        self._gone = gone
        self._known: dict[int, bool] = {}
        self.wiring = Wiring(channels.model.graph)

    def mask(self, label: Label) -> npt.NDArray[np.bool_]:
        """True for every index of an axis that stays."""
        return np.array([self._kept(item) for item in label.tolist()], dtype=bool)

    def masks(self, name: str) -> list[npt.NDArray[np.bool_] | None]:
        """One mask an axis, None where the axis has no label."""
        return [None if label is None else self.mask(label) for label in self.channels.labels.get(name, ())]

    def sizes(self, name: str) -> list[int]:
        """Sizes of a tensor after narrowing, at the batch that was observed."""
        before = self.channels.observed.shapes[name]
        masks = self.masks(name) or [None] * len(before)
        return [size if mask is None else int(mask.sum()) for size, mask in zip(before, masks, strict=True)]

    def changed(self, name: str) -> bool:
        """Whether a tensor loses anything."""
        return tuple(self.sizes(name)) != self.channels.observed.shapes[name]

    def _kept(self, item: int) -> bool:
        if item not in self._known:
            self._known[item] = self.channels.items.is_kept(item, self._gone.__contains__)
        return self._known[item]


def _rewrite_reshape(model: ModelProto, node: NodeProto, keep: Keeper) -> None:
    target = keep.wiring.constant(node.input[1])
    if target is None or not (keep.changed(node.output[0]) or keep.changed(node.input[0])):
        return
    sizes = keep.sizes(node.output[0])
    moving = keep.channels.observed.moving.get(node.output[0], frozenset())
    stated = [int(entry) for entry in target.reshape(-1)]
    copied = None if attribute(node, "allowzero", 0) else 0
    fixed = [entry if entry == copied else sizes[axis] for axis, entry in enumerate(stated)]
    free = [axis for axis in moving if fixed[axis] != 0]
    if not free and -1 in stated:
        free = [stated.index(-1)]
    for axis in free[:1]:
        fixed[axis] = -1
    _store(model, node, 1, np.array(fixed, dtype=np.int64))


def _rewrite_split(model: ModelProto, node: NodeProto, keep: Keeper) -> None:
    if not keep.changed(node.input[0]):
        return
    axis = int(attribute(node, "axis", 0))  # type: ignore[call-overload]
    sizes = [keep.sizes(name)[axis] for name in node.output]
    kept = [entry for entry in node.attribute if entry.name == "axis"]
    stated_inside = any(entry.name == "split" for entry in node.attribute)
    del node.attribute[:]
    node.attribute.extend(kept)
    if stated_inside:
        node.attribute.append(helper.make_attribute("split", sizes))
    else:
        _store(model, node, 1, np.array(sizes, dtype=np.int64))


def _rewrite_slice(model: ModelProto, node: NodeProto, keep: Keeper) -> None:
    masks = keep.masks(node.input[0])
    before, after = (keep.channels.observed.shapes[name] for name in (node.input[0], node.output[0]))
    if not keep.changed(node.input[0]):
        return
    starts, ends = _bounds(keep, node)
    axes = _stated(keep, node, 3, "axes") or list(range(len(starts)))
    for place, axis in enumerate(entry % len(before) for entry in axes):
        mask = masks[axis]
        if mask is None or mask.all() or before[axis] == after[axis]:
            continue
        start = max(0, starts[place] + before[axis] if starts[place] < 0 else starts[place])
        starts[place] = int(mask[:start].sum())
        ends[place] = int(mask[: start + after[axis]].sum())
    _write_bounds(model, node, starts, ends)


def _bounds(keep: Keeper, node: NodeProto) -> tuple[list[int], list[int]]:
    starts, ends = _stated(keep, node, 1, "starts"), _stated(keep, node, 2, "ends")
    if starts is None or ends is None:
        raise ValueError(f"slice '{node.name}' with computed bounds was not frozen")
    return starts, ends


def _write_bounds(model: ModelProto, node: NodeProto, starts: list[int], ends: list[int]) -> None:
    if len(node.input) > 1:
        _store(model, node, 1, np.array(starts, dtype=np.int64))
        _store(model, node, 2, np.array(ends, dtype=np.int64))
        return
    for entry in node.attribute:
        if entry.name in ("starts", "ends"):
            entry.CopyFrom(helper.make_attribute(entry.name, starts if entry.name == "starts" else ends))


def _stated(keep: Keeper, node: NodeProto, place: int, name: str) -> list[int] | None:
    if len(node.input) > place and node.input[place]:
        value = keep.wiring.constant(node.input[place])
        return None if value is None else [int(entry) for entry in value.reshape(-1)]
    given = attribute(node, name)
    return None if given is None else [int(entry) for entry in given]  # type: ignore[attr-defined]


def _rewrite_groups(model: ModelProto, node: NodeProto, keep: Keeper) -> None:
    """A depthwise convolution has a group a channel; others keep their groups and make them smaller."""
    out, inner = keep.channels.observed.shapes[node.input[1]][:2]
    groups = groups_of(node)
    if groups > 1 and inner == 1 and out == groups:
        for entry in node.attribute:
            if entry.name == "group":
                entry.i = keep.sizes(node.input[1])[0]


def _rewrite_expand(model: ModelProto, node: NodeProto, keep: Keeper) -> None:
    """Let the target say 1 where channels run: that keeps the size of the input, whatever it is."""
    if not keep.changed(node.output[0]):
        return
    labels = keep.channels.labels[node.output[0]]
    (length,) = keep.channels.observed.shapes[node.input[1]]
    kept = np.array([label is not None for label in labels[len(labels) - length :]])
    target = keep.wiring.constant(node.input[1])
    if target is not None:
        _store(model, node, 1, np.where(kept, 1, target).astype(np.int64))
        return
    named = [("kept", kept), ("ones", np.ones(length, dtype=np.int64))]
    where, ones = (_add(model, f"{node.output[0]}_{name}", value) for name, value in named)
    size = f"{where}_size"
    chosen = helper.make_node("Where", [where, ones, node.input[1]], [size], name=size)
    place = next(index for index, other in enumerate(model.graph.node) if other.output[0] == node.output[0])
    model.graph.node.insert(place, chosen)
    node.input[1] = size


def _rewrite_resize(model: ModelProto, node: NodeProto, keep: Keeper) -> None:
    sizes = keep.wiring.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    if sizes is not None and sizes.size > 1 and keep.changed(node.output[0]):
        wanted = [int(entry) for entry in sizes.reshape(-1)]
        wanted[1] = keep.sizes(node.output[0])[1]
        _store(model, node, 3, np.array(wanted, dtype=np.int64))


def _rewrite_units(model: ModelProto, node: NodeProto, keep: Keeper) -> None:
    for entry in node.attribute:
        if entry.name == "hidden_size":
            entry.i = keep.sizes(node.input[2])[2]


_REWRITES: dict[str, Callable[[ModelProto, NodeProto, Keeper], None]] = {
    "Reshape": _rewrite_reshape,
    "Split": _rewrite_split,
    "Slice": _rewrite_slice,
    "Conv": _rewrite_groups,
    "Expand": _rewrite_expand,
    "Resize": _rewrite_resize,
    **dict.fromkeys(RECURRENT, _rewrite_units),
}


def _store(model: ModelProto, node: NodeProto, place: int, value: Array) -> None:
    """Give a node a stored input of its own."""
    while len(node.input) <= place:
        node.input.append("")
    node.input[place] = _add(model, f"{node.output[0]}_narrow_{place}", value)


def _add(model: ModelProto, name: str, value: Array) -> str:
    """Store a value under a name that nothing else has, and tell the name."""
    taken = {tensor.name for tensor in model.graph.initializer}
    free = next(tried for number in count() if (tried := f"{name}_{number}") not in taken)
    model.graph.initializer.append(numpy_helper.from_array(value, free))
    return free


def _drop_unread(model: ModelProto) -> None:
    read = {name for node in model.graph.node for name in node.input}
    stored = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(stored)
