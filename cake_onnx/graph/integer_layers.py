"""Layers that compute with whole numbers, written with floats, so that their weights can learn and go.

Layers on rounded operands (QLinearConv and its like) become layers between DequantizeLinear and
QuantizeLinear. Layers that give whole numbers (ConvInteger, MatMulInteger) become one float layer together
with the Cast and the Mul behind them; ranges found at run time (DynamicQuantizeLinear) are not needed then.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

from cake_onnx.graph.shapes import drop_dead_nodes
from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring, attribute

Array = npt.NDArray[np.float32]

_OF_ONE = {
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearAveragePool": "AveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
}
_SOFTMAX_OF_ONE_AXIS = 13
_OF_TWO = {"QLinearAdd": "Add", "QLinearMul": "Mul", "QLinearMatMul": "MatMul"}
_MOVING = (
    *("MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "Identity"),
)
"""Operators that give numbers that they were given."""


def spell_out_integer_layers(model: ModelProto) -> ModelProto:
    """The graph with float layers where weights and activations are whole numbers.

    What is not understood stays as it is; the sums of whole numbers are otherwise the same, but for what
    DynamicQuantizeLinear would have rounded.
    """
    result = copy_model(model)
    writer = _Writer(result)
    for node in model.graph.node:
        if node.output[0] in writer.merged:
            writer.nodes.append(writer.merged[node.output[0]])
            continue
        write = _WRITERS.get(node.op_type)
        if write is None or not write(writer, node):
            writer.nodes.append(node)
            if node.op_type == "QuantizeLinear":
                writer.rounded[node.output[0]] = node.input[1], *node.input[2:3]
    del result.graph.node[:], result.graph.value_info[:]
    result.graph.node.extend(writer.nodes)
    return drop_dead_nodes(result)


class _Writer:
    """The graph as it is, and the nodes that take the place of others.

    Attributes:
        nodes: All that has been written, in order.
        merged: Float layers by the name of the last tensor of the chain they stand for.
        rounded: Scale and zero point of the tensors of whole numbers.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.wiring = Wiring(model.graph)
        self.nodes: list[NodeProto] = []
        self.merged: dict[str, NodeProto] = {}
        self.rounded: dict[str, tuple[str, ...]] = {}

    def store(self, name: str, values: npt.NDArray[np.generic]) -> str:
        """Keep a number or a weight as float32, and tell its name."""
        self.model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def floats(self, node: NodeProto, place: int, axis: int = 0) -> str:
        """Name of the operand at `place`, followed by its scale and its zero point, as floats."""
        whole, scale, zero = node.input[place : place + 3]
        name = f"{node.output[0]}_float_{place}"
        stored = self.wiring.constant(whole)
        if stored is not None:
            factor, shift = (_along(self.number(each), stored.ndim, axis) for each in (scale, zero))
            return self.store(name, (stored.astype(np.float32) - shift) * factor)
        return self.restored(name, whole, scale, zero)

    def restored(self, name: str, whole: str, *rounding: str) -> str:
        """Write the floats that whole numbers stand for, under a name, and tell it."""
        self.nodes.append(helper.make_node("DequantizeLinear", [whole, *rounding], [name], name=name))
        return name

    def number(self, name: str) -> Array:
        """The value of a stored tensor as floats; 0 for one that is left out.

        Raises:
            ValueError: It depends on the input; nobody asked `is_stored`.
        """
        value = self.wiring.constant(name) if name else np.zeros((), dtype=np.float32)
        if value is None:
            raise ValueError(f"'{name}' is not stored")
        return value.astype(np.float32)

    def is_stored(self, *names: str) -> bool:
        """Whether all these, but for those left out, do not depend on the input."""
        return all(self.wiring.constant(name) is not None for name in names if name)

    def layer(self, node: NodeProto, kind: str, inputs: list[str], *rounding: str) -> bool:
        """Write a float layer and the rounding of what it gives, with a scale and perhaps a zero point."""
        name = f"{node.output[0]}_float"
        made = helper.make_node(kind, inputs, [name], name=node.name)
        made.attribute.extend(entry for entry in node.attribute if entry.name not in _NOT_OF_FLOATS)
        self.nodes.append(made)
        rounded = helper.make_node("QuantizeLinear", [name, *rounding], node.output, name=f"{name}_rounded")
        self.nodes.append(rounded)
        self.rounded[node.output[0]] = rounding
        return True


def _along(value: Array, rank: int, axis: int) -> Array:
    """A scale or a zero point, shaped to run along one axis."""
    if value.size == 1:
        return value.reshape(())
    shape = [1] * rank
    shape[axis] = value.size
    return value.reshape(shape)


_NOT_OF_FLOATS = ("channels_last", "opset")
_Write = Callable[[_Writer, NodeProto], bool]


def _qlinear_conv(writer: _Writer, node: NodeProto) -> bool:
    """ONNX QLinearConv-10: x, w and y with scale and zero point each, then a bias of 32 bits."""
    if not writer.is_stored(*node.input[1:]):
        return False
    inputs = [writer.floats(node, 0), writer.floats(node, 3, axis=0)]
    if len(node.input) > 8 and node.input[8]:
        inputs.append(_bias(writer, node, 8, (1, 4)))
    return writer.layer(node, "Conv", inputs, *node.input[6:8])


def _qgemm(writer: _Writer, node: NodeProto) -> bool:
    """com.microsoft QGemm-1: a and b with scale and zero point each, a bias of 32 bits, then those of y."""
    if not writer.is_stored(*node.input[1:]) or attribute(node, "alpha", 1.0) != 1.0:
        return False
    if len(node.input) < 8:
        return False  # floats come out
    inputs = [writer.floats(node, 0), writer.floats(node, 3, axis=0 if attribute(node, "transB", 0) else 1)]
    if node.input[6]:
        inputs.append(_bias(writer, node, 6, (1, 4)))
    return writer.layer(node, "Gemm", inputs, *node.input[7:9])


def _bias(writer: _Writer, node: NodeProto, place: int, scales: tuple[int, int]) -> str:
    """A bias, whose scale is the product of those of both operands."""
    first, second = (writer.number(node.input[scale]).reshape(-1) for scale in scales)
    return writer.store(f"{node.output[0]}_float_{place}", writer.number(node.input[place]) * first * second)


def _of_one(writer: _Writer, node: NodeProto) -> bool:
    """com.microsoft operators of x with scale and zero point, then those of y."""
    if not writer.is_stored(*node.input[1:]) or attribute(node, "channels_last", 0):
        return False
    if node.op_type == "QLinearSoftmax" and attribute(node, "opset", 0) < _SOFTMAX_OF_ONE_AXIS:  # type: ignore[operator]
        return False
    return writer.layer(node, _OF_ONE[node.op_type], [writer.floats(node, 0)], *node.input[3:5])


def _of_two(writer: _Writer, node: NodeProto) -> bool:
    """Operators of a and b with scale and zero point each, then those of y."""
    if not writer.is_stored(node.input[1], node.input[2], *node.input[4:]):
        return False
    inputs = [writer.floats(node, 0, axis=-2), writer.floats(node, 3, axis=-1)]
    return writer.layer(node, _OF_TWO[node.op_type], inputs, *node.input[6:8])


def _concat(writer: _Writer, node: NodeProto) -> bool:
    """com.microsoft QLinearConcat-1: scale and zero point of y, then each tensor with its own."""
    if not writer.is_stored(*(name for place, name in enumerate(node.input) if place < 2 or place % 3 != 2)):
        return False
    inputs = [writer.floats(node, place) for place in range(2, len(node.input), 3)]
    return writer.layer(node, "Concat", inputs, *node.input[:2])


def _moving(writer: _Writer, node: NodeProto) -> bool:
    """Operators that only move numbers or leave some out do so with floats as well."""
    rounding = writer.rounded.get(node.input[0])
    if rounding is None or len(node.output) > 1:
        return False
    x = writer.restored(f"{node.output[0]}_float_0", node.input[0], *rounding)
    return writer.layer(node, node.op_type, [x, *node.input[1:]], *rounding)


def _integer(writer: _Writer, node: NodeProto) -> bool:
    """ONNX ConvInteger-10 and MatMulInteger-10: x, w and their zero points; 32 bits come out."""
    wiring, shown = writer.wiring, {value.name for value in writer.model.graph.output}
    chain = [node]
    for kind in ("Cast", "Mul"):
        readers = wiring.readers.get(chain[-1].output[0], [])
        if len(readers) != 1 or readers[0].op_type != kind or chain[-1].output[0] in shown:
            return False
        chain.append(readers[0])
    scales = [name for name in chain[2].input if name != chain[1].output[0]]
    factor = _factor(wiring, scales[0]) if scales else None
    whole = [index for index, name in enumerate(node.input[:2]) if wiring.constant(name) is not None]
    if factor is None or len(whole) > 1 or (not whole and not (factor == 1).all()):
        return False
    inputs = list(node.input[:2])
    for index in (0, 1):
        if index not in whole:
            found = _before_rounding(writer, node, index)
            if found is None:
                return False
            inputs[index], step = found
            factor = factor / step
    for index in whole:
        weight = _weight(writer, node, index, factor)
        if weight is None:
            return False
        inputs[index] = writer.store(f"{chain[2].output[0]}_float_{index}", weight)
    made = helper.make_node(node.op_type.removesuffix("Integer"), inputs, chain[2].output, name=node.name)
    made.attribute.extend(node.attribute)
    writer.merged[chain[2].output[0]] = made
    return True


def _before_rounding(writer: _Writer, node: NodeProto, index: int) -> tuple[str, float] | None:
    """The float tensor that an operand was rounded from, and the step between its whole numbers."""
    maker = writer.wiring.maker.get(node.input[index])
    if maker is not None and maker.op_type == "DynamicQuantizeLinear":
        return maker.input[0], 1.0
    step = writer.wiring.constant(maker.input[1]) if maker is not None and len(maker.input) > 1 else None
    if maker is None or maker.op_type != "QuantizeLinear" or step is None or step.size != 1:
        return None
    name = writer.restored(f"{node.output[0]}_float_{index}", node.input[index], *maker.input[1:])
    return name, float(step.reshape(-1)[0])


def _factor(wiring: Wiring, name: str) -> Array | None:
    """What whole numbers are multiplied with, with ranges found at run time taken as 1."""
    stored, maker = wiring.constant(name), wiring.maker.get(name)
    if stored is not None:
        return stored.astype(np.float32)
    if maker is None:
        return None
    if maker.op_type == "DynamicQuantizeLinear":
        return np.ones((), dtype=np.float32)
    parts = [_factor(wiring, part) for part in maker.input] if maker.op_type == "Mul" else []
    if len(parts) != 2 or parts[0] is None or parts[1] is None:
        return None
    return np.asarray(parts[0] * parts[1])


def _weight(writer: _Writer, node: NodeProto, index: int, factor: Array) -> Array | None:
    """A stored operand as floats, times `factor`: one number, or one for each channel that is made."""
    value = writer.wiring.constant(node.input[index])
    zero = node.input[2 + index] if len(node.input) > 2 + index else ""
    if value is None or not writer.is_stored(zero):
        return None
    made = 0 if node.op_type == "ConvInteger" else -1
    if factor.size > 1 and (factor.size != value.shape[made] or (made == -1 and index == 0)):
        return None
    shift, scale = (_along(each, value.ndim, made) for each in (writer.number(zero), factor))
    return np.asarray((value.astype(np.float32) - shift) * scale)


_WRITERS: dict[str, _Write] = {
    "QLinearConv": _qlinear_conv,
    "QGemm": _qgemm,
    "ConvInteger": _integer,
    "MatMulInteger": _integer,
    "QLinearConcat": _concat,
    **dict.fromkeys(_MOVING, _moving),
    **dict.fromkeys(_OF_ONE, _of_one),
    **dict.fromkeys(_OF_TWO, _of_two),
}
