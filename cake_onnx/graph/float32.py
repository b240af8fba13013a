"""A graph that computes in float32 what another computes in half, double or quantised numbers."""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cake_onnx.graph.integer_layers import spell_out_integer_layers
from cake_onnx.graph.shapes import drop_dead_nodes
from cake_onnx.graph.tensors import copy_model, opset_of, rename_tensors
from cake_onnx.graph.wiring import Wiring

_OTHER_FLOATS = (TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_OTHER_INTEGERS = ("QGemm", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "QAttention")
_LIMITS_ARE_INPUTS = 11
"""Since this version Clip takes its limits as inputs."""
_RANGES: dict[int, tuple[int, int]] = {
    TensorProto.UINT8: (0, 255),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT16: (0, 65535),
    TensorProto.INT16: (-32768, 32767),
}


def as_float32(model: ModelProto) -> ModelProto:
    """The graph with float32 for every other floating-point type: weights, casts, declared types."""
    result = copy_model(model)
    for tensor in result.graph.initializer:
        _widen_tensor(tensor)
    for node in result.graph.node:
        for attribute in node.attribute:
            _widen(attribute)
    for value in (*result.graph.input, *result.graph.output):
        if value.type.tensor_type.elem_type in _OTHER_FLOATS:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del result.graph.value_info[:]
    return result


def without_rounding(model: ModelProto) -> ModelProto | None:
    """The graph of a quantised teacher without the rounding; layers of whole numbers become float ones.

    Each pair around an activation becomes a Clip to the range that the integers could hold, which is part of
    what the network does: a ReLU is often folded into it.

    Returns:
        The graph, or None where it computes with integers in another way.
    """
    model = spell_out_integer_layers(model)
    result = copy_model(model)
    wiring, shown = Wiring(model.graph), {value.name for value in model.graph.output}
    nodes: list[NodeProto] = []
    names: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            limits, readers = _limits(wiring, node), wiring.readers.get(node.output[0], ())
            if (
                limits is None
                or not readers
                or any(reader.op_type != "DequantizeLinear" for reader in readers)
            ):
                return None
            pairs = [reader.output[0] for reader in readers]
            names |= dict.fromkeys(pairs, next((name for name in pairs if name in shown), pairs[0]))
            nodes.append(_clip(result, node, limits, names[pairs[0]]))
        elif node.op_type == "DequantizeLinear":
            maker = wiring.maker.get(node.input[0])
            if maker is None or maker.op_type != "QuantizeLinear":
                return None
        elif node.op_type.startswith(("QLinear", "DynamicQuantize")) or node.op_type in _OTHER_INTEGERS:
            return None
        else:
            nodes.append(node)
    del result.graph.node[:], result.graph.value_info[:]
    result.graph.node.extend(nodes)
    rename_tensors(result, names)
    return drop_dead_nodes(result)  # no scales, no zero points


def _limits(wiring: Wiring, node: NodeProto) -> tuple[float, float] | None:
    """Lowest and highest value that a QuantizeLinear lets through, None for one it does not know."""
    scale = wiring.constant(node.input[1])
    zero = wiring.stored.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    code = zero.data_type if zero is not None else TensorProto.UINT8
    if scale is None or scale.size != 1 or code not in _RANGES:
        return None
    shift = float(numpy_helper.to_array(zero).reshape(-1)[0]) if zero is not None else 0.0
    low, high = _RANGES[code]
    step = float(scale.reshape(-1)[0])
    return (low - shift) * step, (high - shift) * step


def _clip(model: ModelProto, node: NodeProto, limits: tuple[float, float], output: str) -> NodeProto:
    if (opset_of(model) or 0) < _LIMITS_ARE_INPUTS:
        low, high = limits
        return helper.make_node("Clip", [node.input[0]], [output], name=node.name, min=low, max=high)
    names = [f"{node.output[0]}_low", f"{node.output[0]}_high"]
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(limit, dtype=np.float32), name)
        for name, limit in zip(names, limits, strict=True)
    )
    return helper.make_node("Clip", [node.input[0], *names], [output], name=node.name)


def _widen(attribute: AttributeProto) -> None:
    if attribute.name in ("to", "dtype", "output_dtype") and attribute.i in _OTHER_FLOATS:
        attribute.i = TensorProto.FLOAT
    if attribute.type == AttributeProto.TENSOR:
        _widen_tensor(attribute.t)


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in _OTHER_FLOATS:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
