"""What a tensor is for every input: computed from weights, and from sizes as far as they do not matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.runtime import run_constants
from cake_onnx.graph.wiring import Wiring, attribute

Value = npt.NDArray[np.generic]

_OF_SIZES = frozenset(
    [
        *("Gather", "Slice", "Squeeze", "Unsqueeze", "Concat", "Cast", "Reshape", "Identity", "Constant"),
        *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Not", "Xor", "Where"),
        *("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Abs", "Neg", "ReduceProd", "ReduceSum"),
    ]
)
"""Operators that stay small whatever size they are given, and that exporters compute with sizes."""
RANDOM = frozenset(
    ["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"]
)
"""Operators that give something else each time."""
_MOST_NODES = 500


@dataclass(frozen=True)
class Sizes:
    """Where values come from.

    Attributes:
        model: For its imports.
        maker: Tensor name to the node that makes it.
        stored: Weights by name.
        values: What is known already.
        inferred: Shapes.
    """

    model: ModelProto
    maker: Mapping[str, NodeProto]
    stored: Mapping[str, TensorProto]
    values: Mapping[str, Value]
    inferred: Wiring


def known_values(name: str, source: Sizes) -> dict[str, Value]:
    """The value of a tensor and of all that it is made from; empty where the input or its sizes matter.

    Sizes that are not known, such as the batch, are tried with several numbers, alike and different: the
    value counts as known where all of them give the same.
    """
    collected = _collect(name, source)
    if collected is None:
        return {}
    nodes, shapes = collected
    free = {dim for node in shapes for dim in _dims(node, source) if not isinstance(dim, int)}
    if not free:
        return _evaluate(nodes, shapes, source, {})
    if any(node.op_type not in _OF_SIZES for node in nodes):
        return {}
    count = len(free)
    tries = [[size] * count for size in (1, 2, 3, 7919, 1 << 20)]
    tries += [list(range(2, count + 2)), list(range(count, 0, -1))]
    picks = [dict(zip(sorted(free), sizes, strict=True)) for sizes in tries]
    found = [_evaluate(nodes, shapes, source, pick) for pick in picks]
    if not all(found) or any(not np.array_equal(found[0][name], each[name]) for each in found):
        return {}
    return {name: found[0][name]}


def _collect(name: str, source: Sizes) -> tuple[list[NodeProto], list[NodeProto]] | None:
    """Nodes to compute in order, and the Shape and Size nodes they begin with; None where data comes in."""
    nodes: dict[int, NodeProto] = {}
    shapes: dict[int, NodeProto] = {}
    waiting: list[tuple[str, bool]] = [(name, False)]
    while waiting:
        current, ready = waiting.pop()
        if not current or current in source.stored or current in source.values:
            continue
        node = source.maker.get(current)
        if node is None or node.op_type in RANDOM or len(nodes) > _MOST_NODES:
            return None
        if node.op_type in ("Shape", "Size") and not node.domain:
            if source.inferred.dims(node.input[0]) is None and node.input[0] not in source.stored:
                return None
            shapes[id(node)] = node
        elif ready:
            nodes[id(node)] = node
        elif id(node) not in nodes:
            if any(entry.HasField("g") for entry in node.attribute):
                return None
            waiting.append((current, True))
            waiting.extend((each, False) for each in node.input)
    return list(nodes.values()), list(shapes.values())


def _dims(node: NodeProto, source: Sizes) -> list[int | str]:
    """The sizes that a Shape or Size node gives; those not known are named by symbol, or by place."""
    name = node.input[0]
    dims = source.inferred.dims(name) if name not in source.stored else list(source.stored[name].dims)
    named = [f"{name}[{i}]" if dim is None else dim for i, dim in enumerate(dims or [])]
    start, end = attribute(node, "start", 0), attribute(node, "end")
    return named[start:end] if isinstance(start, int) and (end is None or isinstance(end, int)) else named


def _evaluate(
    nodes: list[NodeProto], shapes: list[NodeProto], source: Sizes, pick: Mapping[str, int]
) -> dict[str, Value]:
    given: dict[str, Value] = {}
    for node in shapes:
        sizes = np.array(
            [dim if isinstance(dim, int) else pick[dim] for dim in _dims(node, source)], np.int64
        )
        given[node.output[0]] = sizes if node.op_type == "Shape" else np.array(sizes.prod(), np.int64)
    made = [name for node in nodes for name in node.output if name]
    read = {name for node in nodes for name in node.input}
    given |= {name: value for name, value in source.values.items() if name in read}
    weights = [numpy_helper.from_array(value, name) for name, value in given.items() if name in read]
    weights += [source.stored[name] for name in sorted(read) if name in source.stored]
    outputs = [helper.make_empty_tensor_value_info(name) for name in made]
    graph = helper.make_graph(nodes, "known", [], outputs, weights)
    model = helper.make_model(
        graph, opset_imports=list(source.model.opset_import), ir_version=source.model.ir_version
    )
    try:
        values = run_constants(model) if made else []
    except UnsupportedTeacherError:
        return {}
    return given | dict(zip(made, values, strict=True))
