"""What kind of network a graph is: operators, parameters, and the traits a student family is chosen by."""

from __future__ import annotations

import math
from collections import Counter

from onnx import ModelProto, NodeProto, TensorProto

from cake_onnx.graph.normalise import normalise
from cake_onnx.graph.tensors import all_tensors
from cake_onnx.graph.wiring import Wiring

_TRAIT_OF = {
    "Conv": "convolution",
    "ConvTranspose": "convolution",
    "QLinearConv": "convolution",
    "ConvInteger": "convolution",
    "FusedConv": "convolution",
    "LSTM": "recurrent",
    "GRU": "recurrent",
    "RNN": "recurrent",
    "Attention": "attention",
    "MultiHeadAttention": "attention",
    "BatchNormalization": "normalisation",
    "LayerNormalization": "normalisation",
    "InstanceNormalization": "normalisation",
    "GroupNormalization": "normalisation",
    "RMSNormalization": "normalisation",
    "SkipLayerNormalization": "normalisation",
}
_QUANTISING = frozenset(
    [
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "QLinearConv",
        "QLinearMatMul",
        "ConvInteger",
        "MatMulInteger",
        "QGemm",
        "QLinearAdd",
        "QLinearMul",
        "QLinearConcat",
        "QLinearSigmoid",
        "QLinearLeakyRelu",
        "QLinearSoftmax",
        "QLinearWhere",
        "QLinearAveragePool",
        "QLinearGlobalAveragePool",
        "DynamicQuantizeMatMul",
        "MatMulIntegerToFloat",
        "QAttention",
        "DynamicQuantizeLSTM",
        "MatMulNBits",
    ]
)
_PARAMETER_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_QUANTISED_TYPES = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4)


def operator_counts(model: ModelProto) -> dict[str, int]:
    """Operators by name, functions inlined; a domain other than ONNX's own is written in front."""
    counts = Counter(
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for node in normalise(model).graph.node
    )
    return dict(sorted(counts.items()))


def parameter_count(model: ModelProto) -> int:
    """Number of stored weights; a quantised weight counts once, its scales and zero points do not."""
    plain = normalise(model)
    quantising = [node for node in plain.graph.node if node.op_type in _QUANTISING]
    # Scales and zero points are the later inputs of quantising operators, of QLinearConv beside the weights.
    side = {name for node in quantising for name in node.input if _is_side_input(node, name)}
    read = {name for node in quantising for name in node.input}
    stored = {tensor.name for tensor in plain.graph.initializer}
    count = 0
    for tensor in all_tensors(plain):
        if tensor.name in side:
            continue
        weighs = tensor.data_type in _PARAMETER_TYPES
        if not weighs and quantising:
            # Not every row of whole numbers is a bias: class labels are such rows too.
            is_bias = tensor.data_type == TensorProto.INT32 and len(tensor.dims) == 1
            is_read = tensor.name in read or tensor.name not in stored
            weighs = tensor.data_type in _QUANTISED_TYPES or (is_bias and is_read)
        count += math.prod(tensor.dims) if weighs else 0
    return count


def traits(model: ModelProto) -> frozenset[str]:
    """Any of `convolution`, `residual`, `attention`, `recurrent`, `normalisation`, `quantised`."""
    graph = normalise(model).graph
    found = {_TRAIT_OF[node.op_type] for node in graph.node if node.op_type in _TRAIT_OF}
    wiring = Wiring(graph)
    if any(node.op_type == "Softmax" and _feeds_product(wiring, node) for node in graph.node):
        found.add("attention")
    if any(
        node.op_type in ("Add", "QLinearAdd", "Sum") and _is_shortcut(wiring, node) for node in graph.node
    ):
        found.add("residual")
    if is_quantised(model):
        found.add("quantised")
    return frozenset(found)


def is_quantised(model: ModelProto) -> bool:
    """Whether the graph computes with rounded integers."""
    return any(node.op_type in _QUANTISING for node in model.graph.node)


def _is_side_input(node: NodeProto, name: str) -> bool:
    position = list(node.input).index(name)
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return position > 0
    if node.op_type in ("QLinearConv", "QLinearMatMul", "QGemm"):
        return position not in (0, 3, 6 if node.op_type == "QGemm" else 8)
    return position > 1


def _feeds_product(wiring: Wiring, node: NodeProto) -> bool:
    readers = wiring.readers.get(node.output[0], [])
    while len(readers) == 1 and readers[0].op_type in ("Dropout", "Cast", "Identity"):
        readers = wiring.readers.get(readers[0].output[0], [])
    return any(reader.op_type in ("MatMul", "Einsum") for reader in readers)


def _is_shortcut(wiring: Wiring, node: NodeProto) -> bool:
    """Whether both operands are computed, and one is made from something the other is made from."""
    sides = [name for name in node.input if name in wiring.maker]
    if len(sides) < 2:
        return False
    first, second = (wiring.ancestors([name]) for name in sides[:2])
    inputs = {value.name for value in wiring.graph.input}
    shared = (first & second & set(wiring.maker)) | (first & second & inputs)
    return bool(shared)
