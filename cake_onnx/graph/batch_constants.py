"""What is the same for every sample of a batch: class tokens and initial states that exporters spread out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

from cake_onnx.graph.intermediates import inner_values
from cake_onnx.graph.runtime import draw_inputs
from cake_onnx.graph.shapes import drop_dead_nodes
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.tensors import copy_model, opset_of
from cake_onnx.graph.wiring import Wiring

_EXPAND = 8
"""Opset that has Expand."""
_BATCHES = (3, 5)
_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
"""Places of initial states, which are zero where nothing is given."""
_ABOUT_SIZES = ("Shape", "Size")


def store_batch_constants(model: ModelProto, input: InputSpec) -> ModelProto:
    """Store one row of what depends on the size of the batch alone, and spread it by Expand.

    Exporters add a class token to zeros of the size of the batch, say, of which no channel could go. Initial
    states of zeros are left out.

    Args:
        model: Graph of one input and one output, for any batch.
        input: What the input takes.

    Raises:
        UnsupportedTeacherError: onnxruntime does not run it at several samples at once.
    """
    names = _candidates(model) if (opset_of(model) or 0) >= _EXPAND else []
    if not names:
        return model
    result, wiring = copy_model(model), Wiring(model.graph)
    for name, (axis, row) in _rows(model, names, input).items():
        if not row.any():
            _leave_out(result, name)
        if _is_spread(wiring, name, row):
            continue
        result.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(row), f"{name}_row"))
        nodes = spread(result, name, f"{name}_row", axis, row.ndim, model.graph.input[0].name, 0)
        place = _set_aside(result, name)
        for node in reversed(nodes):
            result.graph.node.insert(place, node)
    return drop_dead_nodes(result)


def store_constants(model: ModelProto, input: InputSpec) -> ModelProto:
    """Store what does not depend on what one sample is, in a graph that takes one; the rest stays.

    Initial states of zeros are left out, so that a layer may start more than one sample.

    Raises:
        UnsupportedTeacherError: onnxruntime does not run it.
    """
    names, result = _candidates(model), copy_model(model)
    values = inner_values(model, input, draw_inputs(input, 1, seed=0)) if names else {}
    for name in names:
        value = values.get(name)
        if value is not None and value.dtype == np.float32:
            if not value.any():
                _leave_out(result, name)
            _set_aside(result, name)
            result.graph.initializer.append(numpy_helper.from_array(value, name))
    return drop_dead_nodes(result)


def _candidates(model: ModelProto) -> list[str]:
    """Tensors that do not depend on what the samples are, and that something reads which does."""
    wiring = Wiring(model.graph)
    depending = {value.name for value in model.graph.input}
    for node in model.graph.node:
        if node.op_type not in _ABOUT_SIZES and depending.intersection(node.input):
            depending.update(node.output)
    return [
        node.output[0]
        for node in model.graph.node
        if len(node.output) == 1
        and node.output[0] not in depending
        and any(depending.intersection(reader.output) for reader in wiring.readers.get(node.output[0], ()))
    ]


def _rows(
    model: ModelProto, names: list[str], input: InputSpec
) -> dict[str, tuple[int, npt.NDArray[np.float32]]]:
    """Axis of the batch and values for one sample, of those float tensors that have them."""
    small, large = (inner_values(model, input, draw_inputs(input, batch, seed=0)) for batch in _BATCHES)
    found = {}
    for name in (name for name in names if name in small):
        first, second = small[name], large[name]
        if first.dtype != np.float32 or first.ndim != second.ndim:
            continue
        moving = [
            axis
            for axis, sizes in enumerate(zip(first.shape, second.shape, strict=True))
            if len(set(sizes)) > 1
        ]
        if len(moving) == 1 and first.shape[moving[0]] == _BATCHES[0]:
            row = first.take([0], axis=moving[0])
            if (first == row).all() and (second == row).all():
                found[name] = (moving[0], row)
    return found


def _is_spread(wiring: Wiring, name: str, row: npt.NDArray[np.float32]) -> bool:
    """Whether a stored row is spread already."""
    maker = wiring.maker[name]
    value = wiring.constant(maker.input[0]) if maker.op_type == "Expand" else None
    return value is not None and value.shape == row.shape


def _set_aside(model: ModelProto, name: str) -> int:
    """Let a node make its tensor under another name; tell its place."""
    place = next(i for i, node in enumerate(model.graph.node) if name in node.output)
    model.graph.node[place].output[0] = f"{name}_before"
    return place


def _leave_out(model: ModelProto, name: str) -> None:
    """Give recurrent layers no initial state instead of this one."""
    for node in model.graph.node:
        for place in _STATES.get(node.op_type, ()):
            if place < len(node.input) and node.input[place] == name:
                node.input[place] = ""


def spread(
    model: ModelProto, name: str, stored: str, axis: int, rank: int, source: str, along: int
) -> list[NodeProto]:
    """Nodes that repeat a stored tensor for every sample; what they read beside it is stored in the model.

    Args:
        model: Takes the stored numbers.
        name: Of what comes out.
        stored: Tensor that is repeated.
        axis: Its axis of size 1 that the samples shall lie along.
        rank: How many axes it has.
        source: Tensor that holds the samples.
        along: Its axis that they lie along.
    """
    numbers = {"axis": [along], "front": [1] * axis, "back": [1] * (rank - axis - 1)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, dtype=np.int64), f"{name}_{key}")
        for key, value in numbers.items()
    )
    shape, size, target = (f"{name}_{part}" for part in ("shape", "size", "target"))
    return [
        helper.make_node("Shape", [source], [shape], name=shape),
        helper.make_node("Gather", [shape, f"{name}_axis"], [size], name=size, axis=0),
        helper.make_node("Concat", [f"{name}_front", size, f"{name}_back"], [target], name=target, axis=0),
        helper.make_node("Expand", [stored, target], [name], name=name),
    ]
