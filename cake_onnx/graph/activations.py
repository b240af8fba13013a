"""Name sigmoids and softmaxes that exporters write out as arithmetic."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper

from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring, attribute

_RESHAPING = ("Reshape", "Unsqueeze", "Identity")


def name_softmaxes(model: ModelProto) -> ModelProto:
    """Replace `exp(s - logsumexp(s))` and `exp(s) / sum(exp(s))` over the last of two axes by `Softmax(s)`.

    scikit-learn's converters write them out; written so, probabilities that underflow have no gradient.
    """
    result = copy_model(model)
    wiring = Wiring(model.graph)
    for node in result.graph.node:
        source = _softmax_of(node, wiring)
        if source is not None:
            replacement = helper.make_node("Softmax", [source], [node.output[0]], name=node.name, axis=1)
            node.CopyFrom(replacement)
    return result


def _softmax_of(node: NodeProto, wiring: Wiring) -> str | None:
    """s where the node computes the softmax of s."""
    if node.op_type == "Exp":
        difference = wiring.maker.get(node.input[0])
        if difference is None or difference.op_type != "Sub":
            return None
        source = difference.input[0]
        return source if _is_reduced(difference.input[1], "ReduceLogSumExp", source, wiring) else None
    if node.op_type != "Div" or not _is_reduced(node.input[1], "ReduceSum", node.input[0], wiring):
        return None
    exponential = wiring.maker.get(node.input[0])
    if exponential is None or exponential.op_type != "Exp":
        return None
    shifted = wiring.maker.get(exponential.input[0])
    if shifted is not None and shifted.op_type == "Sub":
        source = shifted.input[0]
        if _is_reduced(shifted.input[1], "ReduceMax", source, wiring):
            return str(source)
    return str(exponential.input[0])


def _is_reduced(name: str, op: str, source: str, wiring: Wiring) -> bool:
    """Whether a tensor is `op(source)` over axis 1 of two, one number a sample, whatever its shape."""
    node = wiring.maker.get(name)
    while node is not None and node.op_type in _RESHAPING:
        node = wiring.maker.get(node.input[0])
    if node is None or node.op_type != op or node.domain or node.input[0] != source:
        return False
    dims = wiring.dims(source)
    stated = wiring.constant(node.input[1]) if len(node.input) > 1 else attribute(node, "axes")
    axes = [int(axis) for axis in np.asarray(stated if stated is not None else []).reshape(-1)]
    return axes in ([1], [-1]) and (dims is None or len(dims) == 2)


def name_sigmoids(model: ModelProto) -> ModelProto:
    """Replace `1 / (1 + exp(-s))` by `Sigmoid(s)`.

    scikit-learn's converter writes it out; the quotient has no gradient where the exponential overflows.
    """
    result = copy_model(model)
    wiring = Wiring(model.graph)
    for node in result.graph.node:
        source = _sigmoid_of(node, wiring)
        if source is not None:
            replacement = helper.make_node("Sigmoid", [source], [node.output[0]], name=node.name)
            node.CopyFrom(replacement)
    return result


def _sigmoid_of(node: NodeProto, wiring: Wiring) -> str | None:
    """s where the node computes `1 / (1 + exp(-s))`."""
    if node.op_type == "Div" and _is_all(wiring, node.input[0], 1):
        total = wiring.maker.get(node.input[1])
    else:
        total = wiring.maker.get(node.input[0]) if node.op_type == "Reciprocal" else None
    exponential = _other_operand(total, "Add", wiring, 1)
    if exponential is None or exponential.op_type != "Exp":
        return None
    negated = wiring.maker.get(exponential.input[0])
    if negated is not None and negated.op_type == "Neg":
        return str(negated.input[0])
    if negated is not None and negated.op_type == "Mul":
        for place in (0, 1):
            if _is_all(wiring, negated.input[1 - place], -1):
                return str(negated.input[place])
    return None


def _other_operand(node: NodeProto | None, op: str, wiring: Wiring, number: float) -> NodeProto | None:
    """The node that makes the other operand, where one operand of `node` is a constant `number`."""
    if node is None or node.op_type != op:
        return None
    for place in (0, 1):
        if _is_all(wiring, node.input[1 - place], number):
            return wiring.maker.get(node.input[place])
    return None


def _is_all(wiring: Wiring, name: str, number: float) -> bool:
    # A single number cannot change the shape of what it is combined with, as a larger constant could.
    value = wiring.constant(name)
    return value is not None and value.size == 1 and value.ndim <= 1 and bool(np.all(value == number))
