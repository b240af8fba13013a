"""Spell composite classifiers of `ai.onnx.ml` out, so that their scores and labels are separate nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.activations import name_sigmoids, name_softmaxes
from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring, attribute

__all__ = ["name_sigmoids", "spell_out_classifiers"]

_ML = "ai.onnx.ml"
_POST = {"NONE": "Identity", "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}


def spell_out_classifiers(model: ModelProto) -> ModelProto:
    """Replace `LinearClassifier` by matrix product, activation, arg max and label lookup, and name softmaxes.

    Attributes that have no such spelling leave the node alone; conversion then does it whole or names it.

    Raises:
        UnsupportedTeacherError: Scores are computed from the label of an `SVMClassifier`.
    """
    _refuse_computed_labels(model)
    result = copy_model(model)
    del result.graph.node[:]
    for node in model.graph.node:
        is_linear = node.domain == _ML and node.op_type == "LinearClassifier"
        spelled = _linear_classifier(node) if is_linear else None
        if spelled is None:
            result.graph.node.append(node)
        else:
            result.graph.node.extend(spelled[0])
            result.graph.initializer.extend(spelled[1])
    return name_softmaxes(result)


def _refuse_computed_labels(model: ModelProto) -> None:
    """The votes behind the label of support vector machines are steps; nothing may be computed from them."""
    wiring = Wiring(model.graph)
    labels = (TensorProto.INT64, TensorProto.STRING)
    scored = {v.name for v in model.graph.output if v.type.tensor_type.elem_type not in labels}
    for node in model.graph.node:
        is_machine = node.domain == _ML and node.op_type == "SVMClassifier"
        if is_machine and scored & wiring.descendants([node.output[0]]):
            raise UnsupportedTeacherError(
                "scores with a gradient",
                f"ai.onnx.ml.SVMClassifier in node '{node.name}', whose label (a vote) is computed with",
                "use a classifier whose scores do not rest on the labels of others",
            )


def _linear_classifier(node: NodeProto) -> tuple[list[NodeProto], list[TensorProto]] | None:
    """ONNX-ML operator specification, LinearClassifier-1, with one row a class or a single one."""
    labels = _labels(node)
    coefficients = np.asarray(attribute(node, "coefficients"), dtype=np.float32)
    post = str(attribute(node, "post_transform", "NONE"))
    intercepts = np.asarray(attribute(node, "intercepts", [0.0] * len(labels)), dtype=np.float32)
    rows = len(intercepts)
    single = rows == 1 and len(labels) in (0, 2)
    if post not in _POST or rows == 0 or coefficients.size % rows or not (single or rows == len(labels) > 1):
        return None
    base = node.name
    weight = np.ascontiguousarray(coefficients.reshape(rows, -1).T)
    stored = [
        numpy_helper.from_array(weight, f"{base}/coefficients"),
        numpy_helper.from_array(intercepts, f"{base}/intercepts"),
        numpy_helper.from_array(labels if len(labels) else np.array([0, 1]), f"{base}/labels"),
    ]
    scores = node.output[1] or f"{base}/scores"
    nodes = [
        helper.make_node("Cast", [node.input[0]], [f"{base}/x"], to=TensorProto.FLOAT, name=f"{base}/Cast"),
        helper.make_node("MatMul", [f"{base}/x", stored[0].name], [f"{base}/xw"], name=f"{base}/MatMul"),
        helper.make_node("Add", [f"{base}/xw", stored[1].name], [f"{base}/raw"], name=f"{base}/Add"),
    ]
    if single:
        stored.append(numpy_helper.from_array(np.asarray(1, dtype=np.float32), f"{base}/one"))
        stored.append(numpy_helper.from_array(np.asarray(0, dtype=np.float32), f"{base}/zero"))
        stored.append(numpy_helper.from_array(np.asarray([-1]), f"{base}/flat"))
        nodes += _single(base, scores, post, paired=len(labels) == 2)
        return nodes + _label_by_sign(base, node.output[0]), stored
    activation = helper.make_node(_POST[post], [f"{base}/raw"], [scores], name=f"{base}/post")
    if post == "SOFTMAX":
        activation.attribute.append(helper.make_attribute("axis", 1))
    return [*nodes, activation, *_label(base, f"{base}/raw", node.output[0])], stored


def _single(base: str, scores: str, post: str, *, paired: bool) -> list[NodeProto]:
    """Scores of a model of one row; onnxruntime applies no transform but LOGISTIC, and that to pairs only."""
    if not paired:
        return [helper.make_node("Identity", [f"{base}/raw"], [scores], name=f"{base}/post")]
    op = "Sigmoid" if post == "LOGISTIC" else "Identity"
    return [
        helper.make_node(op, [f"{base}/raw"], [f"{base}/p"], name=f"{base}/post"),
        helper.make_node("Sub", [f"{base}/one", f"{base}/p"], [f"{base}/q"], name=f"{base}/Sub"),
        helper.make_node("Concat", [f"{base}/q", f"{base}/p"], [scores], axis=1, name=f"{base}/Concat"),
    ]


def _label_by_sign(base: str, output: str) -> list[NodeProto]:
    if not output:
        return []
    return [
        helper.make_node(
            "Greater", [f"{base}/raw", f"{base}/zero"], [f"{base}/above"], name=f"{base}/Greater"
        ),
        helper.make_node(
            "Cast", [f"{base}/above"], [f"{base}/column"], to=TensorProto.INT64, name=f"{base}/Which"
        ),
        helper.make_node(
            "Reshape", [f"{base}/column", f"{base}/flat"], [f"{base}/index"], name=f"{base}/Reshape"
        ),
        helper.make_node("Gather", [f"{base}/labels", f"{base}/index"], [output], name=f"{base}/Gather"),
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
