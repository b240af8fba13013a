"""Sizes of every tensor of a graph, as onnxruntime finds them: inferred shapes miss too many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from cake_onnx.graph.runtime import as_declared, draw_inputs, open_session, run_all
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.tensors import copy_model

BATCHES = (3, 5)
"""Two odd batch sizes: an axis whose size differs between them holds samples."""


@dataclass(frozen=True)
class Observed:
    """What one run showed.

    Attributes:
        shapes: Sizes of every tensor at the first batch of `BATCHES`, weights included.
        moving: Axes of every tensor whose size follows the batch.
    """

    shapes: dict[str, tuple[int, ...]]
    moving: dict[str, frozenset[int]]


def observe(model: ModelProto, input: InputSpec) -> Observed:
    """Run a graph on random input and look at all its tensors.

    Raises:
        UnsupportedTeacherError: onnxruntime does not load it.
        RunFailedError: onnxruntime does not run it at several samples at once.
    """
    names = [name for node in model.graph.node for name in node.output if name]
    shown = copy_model(model)
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = open_session(shown.SerializeToString(), threads=1)
    first, second = (_sizes(session, input, names, batch) for batch in BATCHES)
    moving = {
        name: frozenset(
            axis for axis, (a, b) in enumerate(zip(first[name], second[name], strict=True)) if a != b
        )
        for name in first.keys() & second.keys()
        if len(first[name]) == len(second[name])
    }
    stored = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    fed = {value.name: (BATCHES[0], *input.shape) for value in model.graph.input}
    moving |= {value.name: frozenset([0]) for value in model.graph.input}
    return Observed(stored | fed | first, moving)


def write_targets(model: ModelProto, observed: Observed) -> ModelProto:
    """State computed reshape targets as constants, where at most one axis follows the batch.

    Exporters compute `[batch, 17, 3, 16]` from pieces, some of which would be wrong in a narrower graph.
    """
    result = copy_model(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    for node in result.graph.node:
        if node.op_type != "Reshape" or node.domain or len(node.input) < 2 or node.input[1] in stored:
            continue
        made = node.output[0]
        moving = observed.moving.get(made)
        if moving is None or len(moving) > 1 or 0 in observed.shapes[made]:
            continue
        sizes = [-1 if axis in moving else size for axis, size in enumerate(observed.shapes[made])]
        target = numpy_helper.from_array(np.array(sizes, dtype=np.int64), f"{made}_stated_target")
        result.graph.initializer.append(target)
        observed.shapes[target.name] = (len(sizes),)
        node.input[1] = target.name
        del node.attribute[:]
    return result


def _sizes(session: object, input: InputSpec, names: list[str], batch: int) -> dict[str, tuple[int, ...]]:
    fed = as_declared(draw_inputs(input, batch, seed=0), input)
    values = run_all(session, names, {input.name: fed})
    # Sequences and maps have no shape; what touches them is not followed.
    found = zip(names, values, strict=True)
    return {name: value.shape for name, value in found if isinstance(value, np.ndarray)}
