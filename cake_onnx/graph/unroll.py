"""If, Loop and Scan written out, where the branch or the number of steps does not depend on the data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper

from cake_onnx.graph.draft import Draft, Names, needs, renamed, stored_constants
from cake_onnx.graph.sequences import ELEMENT_OPERATORS, SEQUENCE_OPERATORS, element, elements_of, stack
from cake_onnx.graph.shapes import infer_shapes
from cake_onnx.graph.tensors import copy_model, opset_of
from cake_onnx.graph.wiring import Wiring, attribute

MAX_STEPS = 1024
"""A loop of more steps stays a loop."""
MAX_NODES = 20_000
"""So does one that would make the graph larger than this."""

_CONTROL = ("If", "Loop", "Scan")
_PASSES = 5
"""A loop whose length is a size that another loop makes is seen in the pass after that one."""


class _StaysError(Exception):
    """A node cannot be written out."""


def unroll(model: ModelProto) -> ModelProto:
    """Write out control flow as plain nodes, and sequences as their elements.

    Args:
        model: A normalised model; it is not changed.

    Returns:
        The model with the branch in place of every `If` whose condition is known, and the steps in place of
        every `Loop` and `Scan` whose number of steps is. Everything else stays as it is.
    """
    handled = {*_CONTROL, *ELEMENT_OPERATORS}
    for _ in range(_PASSES):
        if not any(node.op_type in handled and not node.domain for node in model.graph.node):
            break
        after = _Unroller(model).result()
        if after is None:
            break
        model = after
    return model


class _Unroller:
    """One pass over a graph."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._outputs = {value.name for value in model.graph.output}
        # Not every version of Identity takes a sequence, so what gives one to the outside stays as it is.
        self._kept = {value.name for value in model.graph.output if not value.type.HasField("tensor_type")}
        self._draft = Draft(model, opset_of(model) or 1, Wiring(infer_shapes(model).graph))
        self._written = 0

    def result(self) -> ModelProto | None:
        """The model after the pass, None where it changed nothing."""
        names: dict[str, str] = {}
        for node in self._model.graph.node:
            self._emit(node, names, rename=False)
        return _finished(self._model, self._draft) if self._written else None

    def _emit(self, node: NodeProto, names: dict[str, str], *, rename: bool) -> None:
        """Add a node, or what it comes to, and enter its outputs in `names`."""
        if rename and node.op_type == "Identity" and not node.domain:
            names[node.output[0]] = names.get(node.input[0], node.input[0])
            return
        made = self._in_place_of(node, names)
        if made is None:
            made = self._draft.add(node, names, rename=rename)
            elements = self._elements(node, names)
            if elements is not None:
                self._draft.sequences[made[0]] = elements
        for name, new in zip(node.output, made, strict=False):
            if name in self._outputs and not rename and new != name:
                self._draft.add(helper.make_node("Identity", [new], [name], name=name), {}, rename=False)
            elif name and new != name:
                names[name] = new

    def _in_place_of(self, node: NodeProto, names: Names) -> list[str] | None:
        """The outputs of what stands in place of a node, None where the node stays."""
        if node.domain or node.op_type not in (*_CONTROL, *ELEMENT_OPERATORS):
            return None
        if self._kept.intersection(node.output):
            return None
        written, count = self._written, len(self._draft.nodes)
        self._written += 1
        try:
            if node.op_type in ELEMENT_OPERATORS:
                return [_known(element(self._draft, renamed(node, names)))]
            if node.op_type == "If":
                return self._branch(node, names)
            return self._loop(node, names) if node.op_type == "Loop" else self._scan(node, names)
        except _StaysError:
            self._draft.forget(count)
            self._written = written
            return None

    def _elements(self, node: NodeProto, names: Names) -> list[str] | None:
        """The elements of the sequence that a node makes, None where it makes none or they are not known."""
        if node.domain:
            return None
        if node.op_type == "Identity":
            return self._draft.sequences.get(names.get(node.input[0], node.input[0]))
        return elements_of(self._draft, renamed(node, names)) if node.op_type in SEQUENCE_OPERATORS else None

    def _branch(self, node: NodeProto, names: Names) -> list[str]:
        branch = "then_branch" if self._flag(names.get(node.input[0], node.input[0])) else "else_branch"
        graph = _graph(node, branch)
        return self._inline(graph, self._opened(graph, names))

    def _loop(self, node: NodeProto, names: Names) -> list[str]:
        limit, start, *carried = (
            names.get(name, name) for name in (*node.input, "", "")[: max(2, len(node.input))]
        )
        if not limit and not start:
            raise _StaysError
        steps = int(self._value(limit).reshape(-1)[0]) if limit else MAX_STEPS + 1
        going = not start or self._flag(start)
        body = _graph(node, "body")
        opened, true = self._opened(body, names), self._draft.number(np.array(True), "true")
        rows: list[list[str]] = []
        while going and len(rows) < steps:
            number = self._draft.number(np.array(len(rows), np.int64), f"{node.name}_step")
            condition, *made = self._step(body, opened, [number, true, *carried], len(rows))
            going = self._flag(condition)
            if not going and not start:
                # The specification ignores the condition of the body here; not everyone does.
                raise _StaysError
            carried, row = made[: len(carried)], made[len(carried) :]
            rows.append(row)
        return carried + self._stacked(node, rows, [0] * (len(node.output) - len(carried)))

    def _scan(self, node: NodeProto, names: Names) -> list[str]:
        inputs = [names.get(name, name) for name in node.input]
        body, count = _graph(node, "body"), _integer(node, "num_scan_inputs", 0)
        opened = self._opened(body, names)
        if self._draft.opset >= 9:
            return self._scan_one(node, body, opened, inputs[:-count], inputs[-count:])
        return self._scan_each(node, body, opened, inputs, count)

    def _scan_each(
        self, node: NodeProto, body: GraphProto, opened: Names, inputs: list[str], count: int
    ) -> list[str]:
        """Scan-8: the first axis of everything is the batch, and each sample is scanned for itself."""
        lengths, *tensors = inputs
        batch, steps = self._draft.size(tensors[-1], 0), self._draft.size(tensors[-1], 1)
        if batch is None or steps is None or (lengths and (self._value(lengths) != steps).any()):
            raise _StaysError
        samples = []
        for index in range(batch):
            place = self._draft.number(np.array(index, np.int64), f"{node.name}_sample")
            own = [
                self._draft.make("Gather", [name, place], f"{node.name}_sample", axis=0) for name in tensors
            ]
            samples.append(self._scan_one(node, body, opened, own[:-count], own[-count:], steps))
        return [
            stack(self._draft, list(each), 0, f"{node.name}_batch") for each in zip(*samples, strict=True)
        ]

    def _scan_one(
        self,
        node: NodeProto,
        body: GraphProto,
        opened: Names,
        states: list[str],
        scanned: list[str],
        steps: int | None = None,
    ) -> list[str]:
        axes = _integers(node, "scan_input_axes", len(scanned))
        backwards = _integers(node, "scan_input_directions", len(scanned))
        if self._draft.opset < 9:
            backwards = _integers(node, "directions", len(scanned))
        sizes = (self._draft.size(name, axis) for name, axis in zip(scanned, axes, strict=True))
        steps = steps if steps is not None else next((size for size in sizes if size is not None), None)
        if steps is None:
            raise _StaysError
        rows: list[list[str]] = []
        for step in range(steps):
            own = []
            for name, axis, backward in zip(scanned, axes, backwards, strict=True):
                at = steps - 1 - step if backward else step
                place = self._draft.number(np.array(at, np.int64), f"{node.name}_place")
                own.append(self._draft.make("Gather", [name, place], f"{node.name}_row", axis=axis))
            made = self._step(body, opened, [*states, *own], step)
            states, row = made[: len(states)], made[len(states) :]
            rows.append(row)
        count = len(node.output) - len(states)
        flipped = _integers(node, "scan_output_directions", count)
        return states + self._stacked(node, rows, _integers(node, "scan_output_axes", count), flipped)

    def _stacked(
        self, node: NodeProto, rows: list[list[str]], axes: list[int], flipped: list[int] | None = None
    ) -> list[str]:
        """What the steps gave, joined along a new axis; of no steps the shape is not known."""
        if axes and not rows:
            raise _StaysError
        columns = [list(column) for column in zip(*rows, strict=True)]
        for column, flip in zip(columns, flipped or (), strict=False):
            if flip:
                column.reverse()
        return [
            stack(self._draft, column, axis, f"{node.name}_steps")
            for column, axis in zip(columns, axes, strict=False)
        ]

    def _step(self, body: GraphProto, opened: Names, inputs: list[str], step: int) -> list[str]:
        if step >= MAX_STEPS:
            raise _StaysError
        given = zip((value.name for value in body.input), inputs, strict=True)
        return self._inline(body, {**opened, **dict(given)})

    def _inline(self, graph: GraphProto, names: dict[str, str]) -> list[str]:
        """Add the nodes of a subgraph under names of their own; the names of its outputs."""
        stored = {tensor.name for tensor in stored_constants(graph)}
        for node in graph.node:
            if not stored.issuperset(node.output):
                self._emit(node, names, rename=True)
        if len(self._draft.nodes) > MAX_NODES:
            raise _StaysError
        return [names.get(value.name, value.name) for value in graph.output]

    def _opened(self, graph: GraphProto, names: Names) -> dict[str, str]:
        """The names that a subgraph sees, its weights stored among those of the whole graph, once."""
        if graph.sparse_initializer:
            raise _StaysError
        return {**names, **{tensor.name: self._draft.store(tensor) for tensor in stored_constants(graph)}}

    def _value(self, name: str) -> npt.NDArray[np.generic]:
        value = self._draft.value(name)
        if value is None or value.size == 0:
            raise _StaysError
        return value

    def _flag(self, name: str) -> bool:
        return bool(self._value(name).reshape(-1)[0])


def _finished(model: ModelProto, draft: Draft) -> ModelProto:
    """The model with the nodes and weights of the draft that its outputs need."""
    read = {value.name for value in model.graph.output}
    alive: list[NodeProto] = []
    for node in reversed(draft.nodes):
        if read.intersection(node.output):
            alive.append(node)
            read |= needs(node)
    result = copy_model(model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend(reversed(alive))
    result.graph.initializer.extend(tensor for name, tensor in draft.stored.items() if name in read)
    made = {name for node in alive for name in node.output}
    result.graph.value_info.extend(value for value in model.graph.value_info if value.name in made)
    return result


def _known(name: str | None) -> str:
    if name is None:
        raise _StaysError
    return name


def _graph(node: NodeProto, name: str) -> GraphProto:
    for entry in node.attribute:
        if entry.name == name and entry.type == AttributeProto.GRAPH:
            graph: GraphProto = entry.g
            return graph
    raise _StaysError


def _integer(node: NodeProto, name: str, default: int) -> int:
    value = attribute(node, name, default)
    return value if isinstance(value, int) else default


def _integers(node: NodeProto, name: str, count: int) -> list[int]:
    value = attribute(node, name)
    return [int(item) for item in value] if isinstance(value, list) else [0] * count
