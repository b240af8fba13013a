"""Sequences of tensors whose elements are known one by one: operators on them become operators on tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import NodeProto

from cake_onnx.graph.draft import Draft
from cake_onnx.graph.wiring import attribute

Resolve = Callable[[Draft, NodeProto], str | None]
ResolveAll = Callable[[Draft, NodeProto], list[str] | None]


def element(draft: Draft, node: NodeProto) -> str | None:
    """The tensor that one of `ELEMENT_OPERATORS` comes to.

    Args:
        draft: The graph so far.
        node: A node that reads names of the draft.

    Returns:
        Its name, None where the elements of the sequence are not known.
    """
    return ELEMENT_OPERATORS[node.op_type](draft, node)


def elements_of(draft: Draft, node: NodeProto) -> list[str] | None:
    """The elements of the sequence that one of `SEQUENCE_OPERATORS` makes, None where they are not known."""
    return SEQUENCE_OPERATORS[node.op_type](draft, node)


def stack(draft: Draft, names: list[str], axis: int, name: str) -> str:
    """Tensors joined along a new axis."""
    if draft.opset >= 13:
        axes = draft.number(np.array([axis], np.int64), f"{name}_axis")
        rows = [draft.make("Unsqueeze", [each, axes], f"{name}_row") for each in names]
    else:
        rows = [draft.make("Unsqueeze", [each], f"{name}_row", axes=[axis]) for each in names]
    return draft.make("Concat", rows, name, axis=axis)


def _insert(draft: Draft, node: NodeProto) -> list[str] | None:
    elements = draft.sequences.get(node.input[0])
    place = _place(draft, node, 2, 0 if elements is None else len(elements))
    if elements is None or place is None:
        return None
    return [*elements[:place], node.input[1], *elements[place:]]


def _erase(draft: Draft, node: NodeProto) -> list[str] | None:
    elements, place = draft.sequences.get(node.input[0]), _place(draft, node, 1, -1)
    if elements is None or place is None or not -len(elements) <= place < len(elements):
        return None
    place %= len(elements)
    return elements[:place] + elements[place + 1 :]


def _at(draft: Draft, node: NodeProto) -> str | None:
    elements, place = draft.sequences.get(node.input[0]), _place(draft, node, 1, 0)
    if elements is None or place is None or not -len(elements) <= place < len(elements):
        return None
    return elements[place]


def _length(draft: Draft, node: NodeProto) -> str | None:
    elements = draft.sequences.get(node.input[0])
    return None if elements is None else draft.number(np.array(len(elements), np.int64), node.output[0])


def _concat(draft: Draft, node: NodeProto) -> str | None:
    elements, axis = draft.sequences.get(node.input[0]), attribute(node, "axis")
    if not elements or not isinstance(axis, int):
        return None
    if attribute(node, "new_axis", 0):
        return stack(draft, elements, axis, node.output[0])
    return draft.make("Concat", elements, node.output[0], axis=axis)


def _split(draft: Draft, node: NodeProto) -> list[str] | None:
    axis = attribute(node, "axis", 0)
    size = draft.size(node.input[0], axis) if isinstance(axis, int) else None
    if size is None or not isinstance(axis, int):
        return None
    given = len(node.input) > 1 and node.input[1] != ""
    lengths = draft.value(node.input[1]) if given else np.array(1)
    if lengths is None:
        return None
    if not given and not attribute(node, "keepdims", 1):
        places = [np.array(i, np.int64) for i in range(size)]
    else:
        step = np.asarray(lengths, np.int64)
        ends = np.arange(0, size, int(step))[1:] if step.ndim == 0 else step.cumsum()[:-1]
        places = np.split(np.arange(size, dtype=np.int64), ends)
    return [
        draft.make("Gather", [node.input[0], draft.number(place, "places")], node.output[0], axis=axis)
        for place in places
    ]


def _place(draft: Draft, node: NodeProto, index: int, default: int) -> int | None:
    if len(node.input) <= index or not node.input[index]:
        return default
    value = draft.value(node.input[index])
    return None if value is None else int(value.reshape(-1)[0])


ELEMENT_OPERATORS: dict[str, Resolve] = {
    "SequenceAt": _at,
    "SequenceLength": _length,
    "ConcatFromSequence": _concat,
}
"""Operators from a sequence to a tensor."""
SEQUENCE_OPERATORS: dict[str, ResolveAll] = {
    "SequenceEmpty": lambda _draft, _node: [],
    "SequenceConstruct": lambda _draft, node: list(node.input),
    "SequenceInsert": _insert,
    "SequenceErase": _erase,
    "SplitToSequence": _split,
}
"""Operators that make a sequence."""
