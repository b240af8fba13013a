"""How a classifier ends: the walk back from its scores over labels, maps, casts and the activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import NodeProto, TensorProto

from cake_onnx.graph.wiring import Wiring, attribute

Activation = Literal["softmax", "log_softmax", "sigmoid", "none"]

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_SHAPE_ONLY = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout")
_ACTIVATIONS: dict[str, Activation] = {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Sigmoid": "sigmoid",
}


@dataclass(frozen=True)
class Ending:
    """What stands between the raw scores and the graph output.

    Attributes:
        activation: The function applied last.
        raw: Tensors that hold the raw scores, nearest to the output first; the later ones differ from the
            first in shape or float width only.
    """

    activation: Activation
    raw: tuple[str, ...]


def find_ending(wiring: Wiring, scores: str) -> Ending:
    """Walk back from the score output to the first operator that computes anything else.

    Args:
        wiring: Lookup tables of a normalised graph.
        scores: Name of the score output.
    """
    activation: Activation = "none"
    rescaled = False
    raw: list[str] = []
    name = scores
    while True:
        node = wiring.maker.get(name)
        if node is None or node.op_type != "ZipMap":
            raw.append(name)
        if node is None:
            break
        if _only_reshapes(node):
            name = node.input[0]
        elif activation == "none" and (shares := _rescaled(node, wiring)):
            rescaled, name = True, shares
        elif activation == "none" and (single := _paired_probability(node, wiring)):
            rescaled, name = True, single
        elif activation == "none" and node.op_type in _ACTIVATIONS and _over_classes(node, wiring):
            activation, raw, name = _ACTIVATIONS[node.op_type], [], node.input[0]
        else:
            break
    if activation == "none" and rescaled:
        # A normaliser over something unknown is part of the model: keep it, the scores are probabilities.
        return Ending("none", _before_zipmap(wiring, scores))
    return Ending(activation, tuple(raw))


def _only_reshapes(node: NodeProto) -> bool:
    if node.op_type == "Cast" and node.domain == "":
        return attribute(node, "to") in _FLOATS
    alone = node.op_type == "Concat" and len(node.input) == 1
    return (node.domain == "" and (node.op_type in _SHAPE_ONLY or alone)) or _is_zipmap(node)


def _is_zipmap(node: NodeProto) -> bool:
    return node.domain == "ai.onnx.ml" and node.op_type == "ZipMap"


def _rescaled(node: NodeProto, wiring: Wiring) -> str | None:
    """p where the node computes `p / sum(p)` or cuts p off at bounds."""
    if node.domain == "ai.onnx.ml":
        is_l1 = node.op_type == "Normalizer" and attribute(node, "norm", "MAX") == "L1"
        return str(node.input[0]) if is_l1 else None
    if node.op_type == "Clip" or (node.op_type == "LpNormalization" and attribute(node, "p", 2) == 1):
        return str(node.input[0])
    if node.op_type != "Div":
        return None
    over, under = (_without_guard(name, wiring) for name in node.input)
    total = wiring.maker.get(under)
    is_sum = total is not None and total.op_type in ("ReduceSum", "ReduceL1") and total.input[0] == over
    return over if is_sum else None


def _without_guard(name: str, wiring: Wiring) -> str:
    """p where the tensor is `p + g` and g is made of a comparison, to keep a sum from being 0."""
    node = wiring.maker.get(name)
    if node is None or node.op_type != "Add":
        return name
    guards = [_is_guard(side, wiring) for side in node.input]
    return str(node.input[0] if guards == [False, True] else name)


def _is_guard(name: str, wiring: Wiring) -> bool:
    node = wiring.maker.get(name)
    while node is not None and node.op_type in ("Cast", "Mul"):
        node = wiring.maker.get(node.input[0])
    return node is not None and node.op_type in ("Not", "Equal")


def _paired_probability(node: NodeProto, wiring: Wiring) -> str | None:
    """p where the node is `Concat(1 - p, p)`, the way scikit-learn's binary models are written."""
    if node.op_type != "Concat" or len(node.input) != 2:
        return None
    complement = wiring.maker.get(node.input[0])
    if complement is None or complement.op_type != "Sub" or complement.input[1] != node.input[1]:
        return None
    one = wiring.constant(complement.input[0])
    return node.input[1] if one is not None and bool(np.all(one == 1)) else None


def _over_classes(node: NodeProto, wiring: Wiring) -> bool:
    """Whether a softmax runs over the class axis, the only one that is not the batch or of size 1."""
    if node.op_type == "Sigmoid":
        return True
    dims = wiring.dims(node.input[0])
    axis = attribute(node, "axis")
    if dims is None or axis is None or len(dims) == 2:
        return axis is None or axis in (1, -1)
    others = [size for place, size in enumerate(dims) if place not in (0, axis, len(dims) + int(str(axis)))]
    return axis not in (0, -len(dims)) and all(size == 1 for size in others)


def _before_zipmap(wiring: Wiring, scores: str) -> tuple[str, ...]:
    node = wiring.maker.get(scores)
    return (node.input[0],) if node is not None and _is_zipmap(node) else (scores,)
