"""Spell composite classifiers of `ai.onnx.ml` out, so that their scores and labels are separate nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring, attribute

_POST = {"NONE": "Identity", "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}


def spell_out_classifiers(model: ModelProto) -> ModelProto:
    """Replace `LinearClassifier` by matrix product, activation, arg max and label lookup.

    Attributes that have no such spelling leave the node alone; conversion then names it.
    """
    result = copy_model(model)
    del result.graph.node[:]
    for node in model.graph.node:
        is_linear = node.domain == "ai.onnx.ml" and node.op_type == "LinearClassifier"
        spelled = _linear_classifier(node) if is_linear else None
        if spelled is None:
            result.graph.node.append(node)
        else:
            result.graph.node.extend(spelled[0])
            result.graph.initializer.extend(spelled[1])
    return result


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


def _linear_classifier(node: NodeProto) -> tuple[list[NodeProto], list[TensorProto]] | None:
    """ONNX-ML operator specification, LinearClassifier-1, with one row a class or a single one."""
    labels = _labels(node)
    coefficients = np.asarray(attribute(node, "coefficients"), dtype=np.float32)
    post = str(attribute(node, "post_transform", "NONE"))
    intercepts = np.asarray(attribute(node, "intercepts", [0.0] * len(labels)), dtype=np.float32)
    rows = len(intercepts)
    single = rows == 1 and len(labels) == 2 and post == "LOGISTIC"
    if post not in _POST or rows == 0 or coefficients.size % rows or not (single or rows == len(labels) > 1):
        return None
    base = node.name
    stored = [
        numpy_helper.from_array(
            np.ascontiguousarray(coefficients.reshape(rows, -1).T), f"{base}/coefficients"
        ),
        numpy_helper.from_array(intercepts, f"{base}/intercepts"),
        numpy_helper.from_array(labels, f"{base}/labels"),
    ]
    scores = node.output[1] or f"{base}/scores"
    nodes = [
        helper.make_node("Cast", [node.input[0]], [f"{base}/x"], to=TensorProto.FLOAT, name=f"{base}/Cast"),
        helper.make_node("MatMul", [f"{base}/x", stored[0].name], [f"{base}/xw"], name=f"{base}/MatMul"),
        helper.make_node("Add", [f"{base}/xw", stored[1].name], [f"{base}/raw"], name=f"{base}/Add"),
    ]
    if single:
        stored.append(numpy_helper.from_array(np.asarray(1, dtype=np.float32), f"{base}/one"))
        nodes += _paired(base, scores)
    else:
        activation = helper.make_node(_POST[post], [f"{base}/raw"], [scores], name=f"{base}/post")
        if post == "SOFTMAX":
            activation.attribute.append(helper.make_attribute("axis", 1))
        nodes.append(activation)
    return nodes + _label(base, scores if single else f"{base}/raw", node.output[0]), stored


def _paired(base: str, scores: str) -> list[NodeProto]:
    return [
        helper.make_node("Sigmoid", [f"{base}/raw"], [f"{base}/p"], name=f"{base}/Sigmoid"),
        helper.make_node("Sub", [f"{base}/one", f"{base}/p"], [f"{base}/q"], name=f"{base}/Sub"),
        helper.make_node("Concat", [f"{base}/q", f"{base}/p"], [scores], axis=1, name=f"{base}/Concat"),
    ]


def _label(base: str, scores: str, output: str) -> list[NodeProto]:
    if not output:
        return []
    index = f"{base}/index"
    return [
        helper.make_node("ArgMax", [scores], [index], axis=1, keepdims=0, name=f"{base}/ArgMax"),
        helper.make_node("Gather", [f"{base}/labels", index], [output], name=f"{base}/Gather"),
    ]


def _labels(node: NodeProto) -> npt.NDArray[np.int64] | npt.NDArray[np.object_]:
    texts = attribute(node, "classlabels_strings")
    if isinstance(texts, Sequence) and texts:
        return np.asarray(texts, dtype=object)
    return np.asarray(attribute(node, "classlabels_ints", []), dtype=np.int64)
