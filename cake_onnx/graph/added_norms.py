"""Batch normalisation for as long as a student learns: added to a graph, and folded away in the end."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring

ADDED = "cake_onnx.norm"
"""How the names of what is added begin."""
_EPSILON = 1e-5
_DEEP = 5
_UNLIKELY = ("BatchNormalization", "Reshape", "Flatten", "Transpose")
"""What reads a convolution that has a normalisation still, or that cuts pictures into tokens."""


def add_norms(model: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> ModelProto:
    """A graph that says the same, with a batch normalisation behind every convolution that may have had one.

    Networks are trained with them, and exporters fold them into convolutions, which have a bias then. A
    network whose channels go learns badly without: what a layer is given changes with all layers before it.

    Args:
        model: A prepared body in float32.
        shapes: Sizes of its tensors. Behind a convolution that gives one position, as in squeeze and excite,
            nothing is added: there a batch has too few values to normalise by.

    Returns:
        A copy; as it was where fewer than five convolutions would have one, which gain nothing by it.
    """
    result, wiring = copy_model(model), Wiring(model.graph)
    chosen = {node.output[0] for node in model.graph.node if _may_have_had_one(node, wiring, shapes)}
    if len(chosen) < _DEEP:
        return result
    del result.graph.node[:]
    for node in model.graph.node:
        result.graph.node.append(node)
        if not chosen.isdisjoint(node.output):
            _normalise(result, wiring.stored[node.input[1]].dims[0])
    return result


def _may_have_had_one(node: NodeProto, wiring: Wiring, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    if node.op_type != "Conv" or len(node.input) < 3 or not wiring.stored.keys() >= set(node.input[1:]):
        return False
    readers = {reader.op_type for reader in wiring.readers.get(node.output[0], ())}
    several = np.prod(shapes.get(node.output[0], ())[2:]) > 1
    return bool(several) and bool(readers) and readers.isdisjoint(_UNLIKELY)


def fold_norms(model: ModelProto) -> ModelProto:
    """The graph without what `add_norms` gave it: scales and shifts go into the convolutions before."""
    result = copy_model(model)
    stored = {tensor.name: tensor for tensor in result.graph.initializer}
    made = {node.output[0]: node for node in result.graph.node if node.output}
    kept = [node for node in result.graph.node if not _is_added(node)]
    for node in result.graph.node:
        if _is_added(node):
            _fold(node, made[node.input[0]], stored)
    del result.graph.node[:]
    result.graph.node.extend(kept)
    left = [tensor for tensor in stored.values() if not tensor.name.startswith(ADDED)]
    del result.graph.initializer[:]
    result.graph.initializer.extend(left)
    return result


def _is_added(node: NodeProto) -> bool:
    return node.op_type == "BatchNormalization" and node.input[1].startswith(ADDED)


def _normalise(model: ModelProto, channels: int) -> None:
    """Put a normalisation that changes nothing behind the last node."""
    node = model.graph.node[-1]
    given, name = node.output[0], f"{ADDED}.{len(model.graph.node)}"
    node.output[0] = f"{name}.input"
    values = {"scale": np.sqrt(1 + _EPSILON), "bias": 0.0, "mean": 0.0, "variance": 1.0}
    for role, value in values.items():
        filled = np.full(channels, value, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(filled, f"{name}.{role}"))
    names = [node.output[0], *(f"{name}.{role}" for role in values)]
    model.graph.node.append(helper.make_node("BatchNormalization", names, [given], name, epsilon=_EPSILON))


def _fold(norm: NodeProto, conv: NodeProto, stored: dict[str, TensorProto]) -> None:
    scale, bias, mean, variance = (
        numpy_helper.to_array(stored[name]).astype(np.float64) for name in norm.input[1:5]
    )
    factor = scale / np.sqrt(variance + _EPSILON)
    weight = numpy_helper.to_array(stored[conv.input[1]])
    scaled = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    stored[conv.input[1]].CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), conv.input[1]))
    shifted = bias + (numpy_helper.to_array(stored[conv.input[2]]) - mean) * factor
    stored[conv.input[2]].CopyFrom(numpy_helper.from_array(shifted.astype(np.float32), conv.input[2]))
    conv.output[0] = norm.output[0]
