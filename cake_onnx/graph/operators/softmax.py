"""Softmax and LogSoftmax, flattening in old versions, over one axis since 13."""

from __future__ import annotations

import math

from torch import Tensor, nn

from cake_onnx.graph.operators.registry import Apply, Bound, Node, operator


@operator("Softmax", since=(1, 11))
@operator("LogSoftmax", since=(1, 11))
def softmax_1(node: Node) -> Bound:
    """ONNX Softmax-11: over everything from `axis` on, as if flattened to two axes."""
    log = node.op_type == "LogSoftmax"
    return node.bind(Apply(_flat_softmax, axis=int(node.attribute("axis", 1)), log=log), 0)


def _flat_softmax(x: Tensor, axis: int, log: bool) -> Tensor:
    rows = math.prod(x.shape[: axis % x.dim()])
    flat = x.reshape(rows, -1)
    return (flat.log_softmax(1) if log else flat.softmax(1)).reshape(x.shape)


@operator("Softmax", since=(13,))
@operator("LogSoftmax", since=(13,))
def softmax_13(node: Node) -> Bound:
    """ONNX Softmax-13: over one axis, the last unless said."""
    axis = int(node.attribute("axis", -1))
    return node.bind(nn.LogSoftmax(axis) if node.op_type == "LogSoftmax" else nn.Softmax(axis), 0)
