"""Files whose batch axis is not the first: the same graph behind one node that puts it there."""

from __future__ import annotations

from onnx import ModelProto, helper

from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import dims_of

_SUFFIX = "_as_found"


def batch_second(model: ModelProto) -> bool:
    """Whether the one input carries its batch on axis 1, as recurrent layers like it.

    The first axis of the one output tells: it has the size or the symbol of the input's second axis, and not
    that of the first.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [dims_of(value) for value in model.graph.input if value.name not in stored]
    outputs = [dims_of(value) for value in model.graph.output]
    if len(inputs) != 1 or len(outputs) != 1 or not inputs[0] or not outputs[0]:
        return False
    dims, first = inputs[0], outputs[0][0]
    # A size of 1 says nothing: it is the batch of nearly every export.
    return len(dims) == 3 and first not in (None, 1, dims[0]) and first == dims[1]


def batch_in_front(model: ModelProto) -> ModelProto:
    """The model with axes 0 and 1 of its one input exchanged; the input keeps its name."""
    result = copy_model(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    value = next(value for value in result.graph.input if value.name not in stored)
    inner = f"{value.name}{_SUFFIX}"
    for node in result.graph.node:
        for index, name in enumerate(node.input):
            if name == value.name:
                node.input[index] = inner
    first, second = (value.type.tensor_type.shape.dim[axis] for axis in (0, 1))
    kept = type(first)()
    kept.CopyFrom(first)
    first.CopyFrom(second)
    second.CopyFrom(kept)
    turn = helper.make_node("Transpose", [value.name], [inner], name="batch_in_front", perm=[1, 0, 2])
    result.graph.node.insert(0, turn)
    return result
