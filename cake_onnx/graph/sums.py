"""Sums of int8 products that a processor cuts off, and how onnxruntime is told not to."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cake_onnx.graph.tensors import all_tensors

EXACT = "session.x64quantprecision"
"""Option of an onnxruntime session that has stored int8 weights multiplied as uint8, which is exact.

It is applied by the optimiser alone, not to the operators of opset 21, and refused beside int8 inputs.
"""
_PRODUCTS = frozenset(
    {
        "ConvInteger",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "QAttention",
        "QGemm",
        "QLinearConv",
        "QLinearMatMul",
    }
)


@cache
def sums_are_cut() -> bool:
    """Whether onnxruntime here adds pairs of uint8 by int8 products in 16 bits, which are too few.

    So it is on processors of x86 without VNNI. 255 x 127 twice is 64,770; they make 32,767 of it.
    """
    import onnxruntime

    weights = np.full((2, 1), 127, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "pair",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 1])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=7)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.full((1, 2), 255, np.uint8)
    found: Any = session.run(None, {"x": x})[0]
    return bool(found.item() != (x.astype(int) @ weights.astype(int)).item())


def cuts_sums_of(model: ModelProto) -> bool:
    """Whether onnxruntime by itself would cut off what this model adds up, on this processor."""
    return sums_are_cut() and mixes_signs(model)


def remark_on_sums(model: ModelProto) -> str:
    """What a user should know of how a model is run here, without its subject; empty where nothing is."""
    if not cuts_sums_of(model):
        return ""
    return (
        f"run with {EXACT}=1; without it onnxruntime cuts sums of int8 products off on this processor and "
        "answers otherwise than on others"
    )


def multiplies_integers(model: ModelProto) -> bool:
    """Whether operators of the graph itself multiply whole numbers, before any optimiser joins others."""
    return any(node.op_type in _PRODUCTS for node in model.graph.node)


def mixes_signs(model: ModelProto) -> bool:
    """Whether it stores int8 numbers, as weights are, and has uint8 ones, as features are."""
    stored = {tensor.data_type for tensor in all_tensors(model)}
    made = any(node.op_type.startswith("DynamicQuantize") for node in model.graph.node)
    return TensorProto.INT8 in stored and (TensorProto.UINT8 in stored or made)
