"""Where the batch is in every tensor of a graph that was exported for a literal batch."""

from __future__ import annotations

import math
from collections.abc import Callable

from onnx import ModelProto, NodeProto

from cake_onnx.graph.shapes import infer_shapes
from cake_onnx.graph.wiring import Wiring, attribute

Sizes = list[int]
Place = tuple[int, int]
"""An axis, and how many of its elements lie in front of the samples: 1 unless they were merged into it."""


def follow_batch(model: ModelProto) -> tuple[dict[str, int], dict[str, Sizes]]:
    """The axis that the samples of a batch lie along, and all sizes, for tensors where both can be told.

    Windows and heads that were merged with the batch lie along it too.

    Args:
        model: A graph with literal sizes, the input's batch in front.
    """
    wiring = Wiring(infer_shapes(model).graph)
    sizes: dict[str, Sizes] = {}
    places: dict[str, Place] = {}
    for value in model.graph.input:
        known = _sizes(wiring, value.name)
        if known:
            places[value.name], sizes[value.name] = (0, 1), known
    for node in model.graph.node:
        source = next((name for name in node.input if name in places), None)
        if source is None or node.domain:
            continue
        for name in node.output:
            known = _sizes(wiring, name)
            if known is None:
                continue
            place = _follow(node, places[source], sizes[source], known, wiring)
            if place is not None:
                places[name], sizes[name] = place, known
    return {name: axis for name, (axis, _) in places.items()}, sizes


def _follow(node: NodeProto, place: Place, before: Sizes, after: Sizes, wiring: Wiring) -> Place | None:
    if node.op_type in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
        return _reshaped(place, before, after)
    axis = _RULES.get(node.op_type, _aligned)(node, place[0], before, after, wiring)
    return None if axis is None or axis >= len(after) else (axis, place[1])


def _sizes(wiring: Wiring, name: str) -> Sizes | None:
    dims = wiring.dims(name)
    known = [size for size in dims or [] if isinstance(size, int)]
    return known if dims is not None and len(known) == len(dims) else None


def _aligned(node: NodeProto, place: int, before: Sizes, after: Sizes, wiring: Wiring) -> int | None:
    """Operators that broadcast align axes at the right; most others keep the rank."""
    shifted = place + len(after) - len(before)
    return shifted if 0 <= shifted < len(after) else None


def _transposed(node: NodeProto, place: int, before: Sizes, after: Sizes, wiring: Wiring) -> int | None:
    order = attribute(node, "perm", list(reversed(range(len(before)))))
    axis: int = list(order).index(place)  # type: ignore[call-overload]
    return axis


def _reshaped(place: Place, before: Sizes, after: Sizes) -> Place | None:
    """As many elements lie in front of the samples as before: at an axis of their own, or within one.

    Where samples come to lie between two axes, exporters mean rows of a matrix for the linear layer behind it
    if two axes are left, else heads that follow the samples.
    """
    axis, inside = place
    ahead = math.prod(before[:axis]) * inside
    fronts = [math.prod(after[:axis]) for axis in range(len(after))]
    matching = [axis for axis, front in enumerate(fronts) if front == ahead]
    alone = [axis for axis in matching if after[axis] == 1]
    if alone or ahead == 1:
        return (alone or matching)[0], 1
    if matching and len(after) > 2:
        return matching[0], 1
    for axis, front in enumerate(fronts):
        if front < ahead <= front * after[axis] and ahead % front == 0:
            return axis, ahead // front
    return None


def _gathered(node: NodeProto, place: int, before: Sizes, after: Sizes, wiring: Wiring) -> int | None:
    axis = int(attribute(node, "axis", 0)) % len(before)  # type: ignore[call-overload]
    if axis == place or node.op_type != "Gather":
        return None
    return place if axis > place else place + len(after) - len(before)


def _reduced(node: NodeProto, place: int, before: Sizes, after: Sizes, wiring: Wiring) -> int | None:
    if len(after) == len(before):
        return place
    stored = wiring.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    given = attribute(node, "axes", None if stored is None else stored.reshape(-1).tolist())
    if given is None:
        return None
    axes = {int(axis) % len(before) for axis in given}  # type: ignore[attr-defined]
    return None if place in axes else place - sum(axis < place for axis in axes)


_RULES: dict[str, Callable[[NodeProto, int, Sizes, Sizes, Wiring], int | None]] = {
    "Transpose": _transposed,
    "Gather": _gathered,
    "GatherElements": _gathered,
    "GatherND": _gathered,
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ArgMax"), _reduced
    ),
}
