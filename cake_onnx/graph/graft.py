"""Put a teacher's tail on a student's trunk."""

from __future__ import annotations

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from cake_onnx.errors import UnsupportedTeacherError, first_line
from cake_onnx.graph.batch import symbolic_batch
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.tensors import copy_model, opset_of

_PREFIX = "student/"


def graft(trunk: ModelProto, prepared: Prepared, input: InputSpec, least_opset: int = 0) -> ModelProto:
    """Join a trunk `x -> raw` and the teacher's tail into one model with the teacher's signature.

    Args:
        trunk: Float32 model with one input and one output, any batch.
        prepared: The teacher's tail, and its input as the teacher declares it.
        input: The teacher's data input.
        least_opset: The opset of the result is no older.

    Raises:
        UnsupportedTeacherError: The tail cannot be brought to the opset of the trunk.
    """
    opset = max(opset_of(trunk) or 0, opset_of(prepared.tail) or 0, least_opset)
    tail = _at_opset(prepared.tail, opset)
    trunk = _at_opset(trunk, opset)
    raw = prepared.tail.graph.input[0]
    bridge_in, start = _cast(input.name, f"{_PREFIX}x", TensorProto.FLOAT, wanted=input.dtype != "float32")
    code = raw.type.tensor_type.elem_type
    bridge_out, end = _cast(f"{_PREFIX}raw", raw.name, code, wanted=code != TensorProto.FLOAT)
    names = {trunk.graph.input[0].name: start if bridge_in else input.name}
    names[trunk.graph.output[0].name] = f"{_PREFIX}raw" if bridge_out else end
    nodes = [
        *bridge_in,
        *(_bare(node) for node in _renamed_nodes(trunk, names)),
        *bridge_out,
        *(_bare(node) for node in tail.graph.node),
    ]
    graph = helper.make_graph(
        nodes,
        "student",
        [symbolic_batch(prepared.body).graph.input[0]],
        list(prepared.tail.graph.output),
        [*_renamed_weights(trunk, names), *tail.graph.initializer],
    )
    domains = {entry.domain: entry.version for entry in (*tail.opset_import, *trunk.opset_import)}
    used = {node.domain for node in graph.node} - {""}
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(domain, domains[domain]) for domain in sorted(used)]
    version = max(trunk.ir_version, prepared.tail.ir_version)
    return helper.make_model(graph, opset_imports=imports, ir_version=version)


def _at_opset(model: ModelProto, opset: int) -> ModelProto:
    """The model with its standard operators in the spelling of a newer opset."""
    if not model.graph.node:
        return model
    if opset_of(model) == opset or all(node.domain for node in model.graph.node):
        return model
    try:
        return onnx.version_converter.convert_version(model, opset)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        raise UnsupportedTeacherError(
            f"an ending of the model that can be written in opset {opset}",
            first_line(error),
            "export the teacher with a newer opset",
        ) from error


def _cast(source: str, target: str, code: int, *, wanted: bool) -> tuple[list[NodeProto], str]:
    if not wanted:
        return [], target
    return [helper.make_node("Cast", [source], [target], to=code, name=f"{target}/Cast")], target


def _renamed_nodes(trunk: ModelProto, names: dict[str, str]) -> list[NodeProto]:
    """The trunk's nodes with every tensor under the student's own prefix, so that none meets the tail's."""
    result = copy_model(trunk)
    for index, node in enumerate(result.graph.node):
        for field in (node.input, node.output):
            field[:] = [_new_name(name, names) for name in field]
        node.name = f"{_PREFIX}{node.op_type}_{index}"
    return list(result.graph.node)


def _renamed_weights(trunk: ModelProto, names: dict[str, str]) -> list[TensorProto]:
    weights = []
    for tensor in trunk.graph.initializer:
        renamed = TensorProto()
        renamed.CopyFrom(tensor)
        renamed.name = _new_name(tensor.name, names)
        weights.append(renamed)
    return weights


def _new_name(name: str, names: dict[str, str]) -> str:
    return names.get(name, f"{_PREFIX}{name}") if name else ""


def _bare(node: NodeProto) -> NodeProto:
    """A node without the traces of where it was exported."""
    bare = NodeProto()
    bare.CopyFrom(node)
    bare.ClearField("doc_string")
    del bare.metadata_props[:]
    return bare
