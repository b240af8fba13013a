"""A softmax or sigmoid whose result is quantised once more at the very end, as quantisers write it.

Its probabilities then lie on a grid and do not add up to 1, and the activation hides behind the two last
operators: without this step they would pass for logits.
"""

from __future__ import annotations

from onnx import ModelProto, NodeProto, helper

from cake_onnx.graph.tensors import copy_model, opset_of
from cake_onnx.graph.wiring import Wiring, attribute

_SHAPE_ONLY = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast")
_ACTIVATIONS = ("Softmax", "LogSoftmax", "Sigmoid")
_FUSED = {"QLinearSoftmax": "Softmax", "QLinearSigmoid": "Sigmoid"}
_ONE_AXIS = 13
"""Opset from which Softmax runs over one axis, no longer over all from `axis` on."""


def plain_ending(model: ModelProto) -> ModelProto:
    """Let scores come out of the last softmax or sigmoid as it gives them, not rounded to a grid.

    The model given is not changed. Values move by half a step of the grid at most.
    """
    result = copy_model(model)
    for output in model.graph.output:
        wiring = Wiring(result.graph)
        dequantise = _walk_back(wiring, output.name)
        if dequantise is None or dequantise.op_type != "DequantizeLinear":
            continue
        quantise = _walk_back(wiring, dequantise.input[0])
        if quantise is None or not _alone(wiring, quantise, dequantise):
            continue
        if quantise.op_type == "QuantizeLinear":
            source = _walk_back(wiring, quantise.input[0])
            if source is not None and source.op_type in _ACTIVATIONS:
                _replace(result, quantise, [])
                _replace(result, dequantise, [])
        elif quantise.op_type in _FUSED and _means_the_same(model, quantise):
            _replace(result, quantise, _spelled_out(quantise))
            _replace(result, dequantise, [])
    return result


def _walk_back(wiring: Wiring, name: str) -> NodeProto | None:
    """The node that computes a tensor, casts and changes of shape passed over."""
    node = wiring.maker.get(name)
    while node is not None and node.domain == "" and node.op_type in _SHAPE_ONLY:
        node = wiring.maker.get(node.input[0])
    return node


def _alone(wiring: Wiring, quantise: NodeProto, dequantise: NodeProto) -> bool:
    """Whether nothing but `dequantise` reads the quantised numbers, on the way to it either."""
    name = dequantise.input[0]
    while len(wiring.readers.get(name, [])) == 1:
        if name in quantise.output:
            return True
        name = wiring.maker[name].input[0]
    return False


def _means_the_same(model: ModelProto, node: NodeProto) -> bool:
    """Whether Softmax of the model's opset runs over the axes that a QLinearSoftmax names."""
    meant = attribute(node, "opset")
    return not isinstance(meant, int) or (meant < _ONE_AXIS) == ((opset_of(model) or 1) < _ONE_AXIS)


def _spelled_out(node: NodeProto) -> list[NodeProto]:
    """The activation in floats, from a whole-number input; its result keeps the name."""
    real = f"{node.output[0]}_real"
    activation = helper.make_node(_FUSED[node.op_type], [real], [node.output[0]], name=node.name)
    activation.attribute.extend(entry for entry in node.attribute if entry.name == "axis")
    return [helper.make_node("DequantizeLinear", list(node.input[:3]), [real], name=real), activation]


def _replace(model: ModelProto, node: NodeProto, by: list[NodeProto]) -> None:
    """Put nodes in the place of one, or nothing: then its first input goes on under its output's name."""
    graph = model.graph
    position = next(i for i, entry in enumerate(graph.node) if list(entry.output) == list(node.output))
    made = by or [helper.make_node("Identity", [node.input[0]], list(node.output), name=node.name)]
    rest = list(graph.node)[position + 1 :]
    del graph.node[position:]
    graph.node.extend([*made, *rest])
    # Shapes stay; the element type recorded for the quantised numbers is no longer true.
    kept = [value for value in graph.value_info if value.name not in node.output]
    del graph.value_info[:]
    graph.value_info.extend(kept)
