"""What is the same for every sample of a batch: class tokens and initial states that exporters spread out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

from cake_onnx.graph.runtime import as_declared, draw_inputs, open_session, run_all
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
        UnsupportedTeacherError: onnxruntime does not load it.
        RunFailedError: onnxruntime does not run it at several samples at once.
    """
    names = _candidates(model) if (opset_of(model) or 0) >= _EXPAND else []
    if not names:
        return model
    result = copy_model(model)
    for name, (axis, row) in _rows(model, names, input).items():
        if not row.any():
            _leave_out(result, name)
        if _is_spread(model, name, row):
            continue
        nodes = _spread(result, name, axis, row, model.graph.input[0].name)
        place = _set_aside(result, name)
        for node in reversed(nodes):
            result.graph.node.insert(place, node)
    return drop_dead_nodes(result)


def store_constants(model: ModelProto, input: InputSpec) -> ModelProto:
    """Store what does not depend on what one sample is, in a graph that takes one; the rest stays.

    Initial states of zeros are left out, so that a layer may start more than one sample.

    Raises:
        UnsupportedTeacherError: onnxruntime does not load it.
        RunFailedError: onnxruntime does not run it.
    """
    names, result = _candidates(model), copy_model(model)
    (values,) = _runs(model, names, input, (1,)) if names else ([],)
    for name, value in zip(names, values, strict=True):
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
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
    runs = _runs(model, names, input, _BATCHES)
    found = {}
    for name, first, second in zip(names, *runs, strict=True):
        if not isinstance(first, np.ndarray) or first.dtype != np.float32 or first.ndim != second.ndim:
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


def _is_spread(model: ModelProto, name: str, row: npt.NDArray[np.float32]) -> bool:
    """Whether a stored row is spread already."""
    wiring = Wiring(model.graph)
    maker = wiring.maker[name]
    value = wiring.constant(maker.input[0]) if maker.op_type == "Expand" else None
    return value is not None and value.shape == row.shape


def _runs(model: ModelProto, names: list[str], input: InputSpec, batches: tuple[int, ...]) -> list[list[Any]]:
    """Values of tensors for batches of these sizes."""
    shown = copy_model(model)
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = open_session(shown.SerializeToString(), threads=1)
    fed = [as_declared(draw_inputs(input, batch, seed=0), input) for batch in batches]
    return [run_all(session, names, {input.name: x}) for x in fed]


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


def _spread(
    model: ModelProto, name: str, axis: int, row: npt.NDArray[np.float32], input: str
) -> list[NodeProto]:
    """Nodes that give every sample a stored row."""
    sizes = [np.ones(count, dtype=np.int64) for count in (axis, row.ndim - axis - 1)]
    stored = {"row": row, "zero": np.zeros(1, dtype=np.int64), "front": sizes[0], "back": sizes[1]}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(value), f"{name}_{key}") for key, value in stored.items()
    )
    shape, batch, target = (f"{name}_{part}" for part in ("shape", "batch", "sizes"))
    return [
        helper.make_node("Shape", [input], [shape], name=shape),
        helper.make_node("Gather", [shape, f"{name}_zero"], [batch], name=batch, axis=0),
        helper.make_node("Concat", [f"{name}_front", batch, f"{name}_back"], [target], name=target, axis=0),
        helper.make_node("Expand", [f"{name}_row", target], [name], name=name),
    ]
