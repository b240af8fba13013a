"""Let any number of samples through a graph that was exported for a fixed batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from cake_onnx.errors import RunFailedError
from cake_onnx.graph.batch_constants import spread, store_constants
from cake_onnx.graph.batch_position import follow_batch
from cake_onnx.graph.runtime import as_declared, draw_inputs, open_session, run_all
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring, attribute

DEFAULT_SYMBOL = "batch"
_TRIED = 3

_MIXING = frozenset(["DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"])
"""Operators that take one scale from all samples of a batch, so that each changes the others a little."""


def batch_axis(model: ModelProto) -> int | str | None:
    """First declared dimension of the one input: a number, a symbol, or None where nothing is said."""
    dims = Wiring(model.graph).dims(model.graph.input[0].name)
    return dims[0] if dims else None


def symbolic_batch(model: ModelProto) -> ModelProto:
    """Declare the batch of input and outputs as a symbol and forget inferred shapes. Computes nothing new."""
    result = copy_model(model)
    size = batch_axis(model)
    symbol = size if isinstance(size, str) else DEFAULT_SYMBOL
    del result.graph.value_info[:]
    for value in (*result.graph.input, *result.graph.output):
        if not value.type.HasField("tensor_type") or not value.type.tensor_type.shape.dim:
            continue
        first = value.type.tensor_type.shape.dim[0]
        if isinstance(size, int) and first.dim_value == size:
            first.dim_param = symbol
    return result


def mixes_samples(model: ModelProto) -> bool:
    """Whether what the model says of a sample depends on the other samples of its batch, by design."""
    return any(node.op_type in _MIXING for node in model.graph.node)


def fix_batch(model: ModelProto, sample: Sequence[int]) -> ModelProto:
    """Declare the input as one sample of shape `sample` and forget inferred shapes. Computes nothing new."""
    result = copy_model(model)
    del result.graph.value_info[:]
    value = result.graph.input[0]
    code = value.type.tensor_type.elem_type
    value.CopyFrom(helper.make_tensor_value_info(value.name, code, [1, *sample]))
    return result


def free_batch(model: ModelProto) -> ModelProto:
    """Rewrite the places where exporters bake the batch size in: reshape targets, `Flatten(axis=0)`, tokens.

    The result need not be right (a graph can bake the batch in elsewhere): compare it with the original.
    """
    size = batch_axis(model)
    fixed = size if isinstance(size, int) else 1
    places, sizes = follow_batch(model) if isinstance(size, int) else ({}, {})
    result = symbolic_batch(model)
    wiring = Wiring(result.graph)
    moving = wiring.descendants([result.graph.input[0].name])
    for node in list(result.graph.node):
        if node.op_type == "Concat" and node.output[0] in places:
            _spread_stored(result, node, wiring, places)
        if node.domain or not moving.intersection(node.input[:1]):
            continue
        if (
            node.op_type == "Reshape"
            and node.output[0] in places
            and wiring.constant(node.input[1]) is not None
        ):
            target = list(sizes[node.output[0]])
            target[places[node.output[0]]] = -1
            _set_target(result, node, target)
        elif node.op_type == "Reshape":
            _free_reshape(result, node, wiring, fixed)
        if node.op_type == "Flatten" and attribute(node, "axis", 1) == 0 and fixed == 1:
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("axis", 1))
    return result


def free_single(model: ModelProto, input: InputSpec) -> ModelProto | None:
    """A graph of one input and one output that takes one sample, for any batch of them.

    Returns:
        The graph, or None where it says something else of samples that come together.
    """
    freed = free_batch(store_constants(model, input))
    single, any_batch = (open_session(each.SerializeToString(), threads=1) for each in (model, freed))
    names, x = [model.graph.output[0].name], as_declared(draw_inputs(input, _TRIED, seed=1), input)
    try:
        alone = [run_all(single, names, {input.name: x[i : i + 1]})[0] for i in range(_TRIED)]
        (together,) = run_all(any_batch, names, {input.name: x})
    except RunFailedError:
        return None
    wanted = np.concatenate(alone)
    same = together.shape == wanted.shape and np.allclose(together, wanted, rtol=1e-3, atol=1e-3)
    return freed if same else None


def _spread_stored(model: ModelProto, node: NodeProto, wiring: Wiring, places: dict[str, int]) -> None:
    """Repeat stored operands of a Concat, such as a class token, for every sample of the computed one."""
    place = places[node.output[0]]
    computed = next((name for name in node.input if name in places), None)
    if computed is None or attribute(node, "axis", 1) == place:
        return
    index = next(i for i, other in enumerate(model.graph.node) if other.output[0] == node.output[0])
    for position, name in enumerate(node.input):
        value = wiring.constant(name)
        if value is None or value.ndim <= place or value.shape[place] != 1:
            continue
        base = f"{node.output[0]}_spread_{position}"
        steps = spread(model, base, name, place, value.ndim, computed, place)
        for step in reversed(steps):
            model.graph.node.insert(index, step)
        index += len(steps)
        node.input[position] = base


def _free_reshape(model: ModelProto, node: NodeProto, wiring: Wiring, fixed: int) -> None:
    target = wiring.constant(node.input[1])
    if target is None or target.size == 0 or target[0] != fixed:
        return
    freed = [int(size) for size in target]
    if -1 not in freed and 0 not in freed:
        freed[0] = -1
    elif attribute(node, "allowzero", 0) == 0:
        freed[0] = 0  # copies the batch of the input, ONNX Reshape-5
    else:
        return
    _set_target(model, node, freed)


def _set_target(model: ModelProto, node: NodeProto, target: list[int]) -> None:
    name = f"{node.output[0]}_free_target"
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(target, dtype=np.int64), name))
    node.input[1] = name
