"""Compute once what does not depend on the input."""

from __future__ import annotations

from onnx import AttributeProto, ModelProto, NodeProto, helper, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.runtime import run_constants
from cake_onnx.graph.shapes import drop_dead_nodes, infer_shapes, write_reshape_targets
from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring, constant_value

_RANDOM = (
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
)


def store_constants(model: ModelProto) -> ModelProto:
    """Turn `Constant` nodes into initializers; converters look for weights there."""
    result = copy_model(model)
    del result.graph.node[:]
    for node in model.graph.node:
        value = constant_value(node) if node.op_type == "Constant" and node.domain == "" else None
        if value is None:
            result.graph.node.append(node)
        else:
            result.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
    return result


def compute_ahead(model: ModelProto) -> ModelProto:
    """The model without what needs no input: constants folded, reshape targets written, the rest dropped.

    Raises:
        UnsupportedTeacherError: onnxruntime cannot compute a constant.
    """
    return infer_shapes(drop_dead_nodes(write_reshape_targets(fold_constants(model))))


def fold_constants(model: ModelProto) -> ModelProto:
    """Replace every node that does not depend on the input by its value, computed by onnxruntime.

    Exporters leave weights behind Identity, Transpose, Cast, ConstantOfShape or DequantizeLinear; a converter
    that wants weights finds them only when they are stored.

    Raises:
        UnsupportedTeacherError: onnxruntime cannot compute them.
    """
    stored = store_constants(model)
    wiring = Wiring(stored.graph)
    fixed = set(wiring.stored)
    nodes: list[NodeProto] = []
    for node in stored.graph.node:
        if _can_fold(node) and fixed.issuperset(name for name in node.input if name):
            nodes.append(node)
            fixed.update(name for name in node.output if name)
    if not nodes:
        return stored
    return _replaced(stored, nodes, wiring)


def _can_fold(node: NodeProto) -> bool:
    has_graph = any(attribute.type == AttributeProto.GRAPH for attribute in node.attribute)
    # A node without inputs that is no Constant is a generator or holds text; leave it alone.
    return bool(node.input) and not has_graph and node.op_type not in _RANDOM


def _replaced(model: ModelProto, nodes: list[NodeProto], wiring: Wiring) -> ModelProto:
    made = {name for node in nodes for name in node.output if name}
    folded = {id(node) for node in nodes}
    graph_outputs = {value.name for value in model.graph.output}
    read = {name for node in model.graph.node if id(node) not in folded for name in node.input}
    # A graph output must stay the output of a node, so nodes that make one are kept as they are.
    wanted = sorted((made & read) - graph_outputs)
    values = run_constants(_only(model, nodes, wanted, wiring)) if wanted else []
    result = copy_model(model)
    del result.graph.node[:]
    for node in model.graph.node:
        if id(node) not in folded or graph_outputs.intersection(node.output):
            result.graph.node.append(node)
    for name, value in zip(wanted, values, strict=True):
        result.graph.initializer.append(numpy_helper.from_array(value, name))
    return result


def _only(model: ModelProto, nodes: list[NodeProto], wanted: list[str], wiring: Wiring) -> ModelProto:
    """A model without inputs that computes `wanted`."""
    needed = {name for node in nodes for name in node.input} & set(wiring.stored)
    if any(len(node.output) == 0 for node in nodes):
        raise UnsupportedTeacherError("nodes with outputs", "a node without any", "export the model again")
    graph = helper.make_graph(
        nodes,
        "constants",
        [],
        [helper.make_empty_tensor_value_info(name) for name in wanted],
        [wiring.stored[name] for name in sorted(needed)],
    )
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
