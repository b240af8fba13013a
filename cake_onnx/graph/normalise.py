"""First steps on any teacher: one spelling of everything, so that later steps see plain graphs only."""

from __future__ import annotations

import onnx
from onnx import GraphProto, ModelProto, NodeProto, inliner

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.quantised_ending import plain_ending
from cake_onnx.graph.tensors import copy_model

_FREE_INITIALIZERS = 4
"""First IR version in which an initializer need not be an input (ONNX IR specification, "Graphs")."""


def use_default_domain(model: ModelProto) -> ModelProto:
    """Spell the standard domain `""` everywhere; some writers spell it `ai.onnx`."""
    result = copy_model(model)
    for node in result.graph.node:
        if node.domain == "ai.onnx":
            node.domain = ""
    versions: dict[str, int] = {}
    for entry in result.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        versions[domain] = max(entry.version, versions.get(domain, 0))
    del result.opset_import[:]
    result.opset_import.extend(
        onnx.helper.make_opsetid(domain, version) for domain, version in versions.items()
    )
    return result


def inline_functions(model: ModelProto) -> ModelProto:
    """Replace calls of the model's own functions by their bodies."""
    return inliner.inline_local_functions(model) if model.functions else model


def drop_initializer_inputs(model: ModelProto) -> ModelProto:
    """Before IR version 4 every weight was also listed as an input; keep only inputs that are fed."""
    result = copy_model(model)
    stored = {tensor.name for tensor in result.graph.initializer}
    fed = [value for value in model.graph.input if value.name not in stored]
    del result.graph.input[:]
    result.graph.input.extend(fed)
    result.ir_version = max(result.ir_version, _FREE_INITIALIZERS)
    return result


def sort_nodes(model: ModelProto) -> ModelProto:
    """Put every node after the nodes it reads; old writers list them in any order.

    Raises:
        UnsupportedTeacherError: A tensor is read that nothing makes, or nodes form a cycle.
    """
    result = copy_model(model)
    known = {"", *(value.name for value in result.graph.input), *_stored_names(result.graph)}
    waiting = list(model.graph.node)
    done: list[NodeProto] = []
    while waiting:
        left: list[NodeProto] = []
        # A file that is in order is done in one pass.
        for node in waiting:
            if known.issuperset(_needs(node)):
                known.update(node.output)
                done.append(node)
            else:
                left.append(node)
        if len(left) == len(waiting):
            missing = next(name for name in _needs(waiting[0]) if name not in known)
            raise UnsupportedTeacherError(
                "a graph in which every tensor read is made before",
                f"'{missing}', read by node '{waiting[0].name or waiting[0].op_type}'",
                "the file is damaged: export the model again",
            )
        waiting = left
    del result.graph.node[:]
    result.graph.node.extend(done)
    return result


def name_nodes(model: ModelProto) -> ModelProto:
    """Give every node a name of its own, the original one where it is unique, for use in messages."""
    result = copy_model(model)
    taken: set[str] = set()
    for index, node in enumerate(result.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
        taken.add(node.name)
    return result


def name_graph(model: ModelProto) -> ModelProto:
    """Give the graph a name; onnxruntime runs files without one, `onnx.checker` does not accept them."""
    if model.graph.name:
        return model
    result = copy_model(model)
    result.graph.name = "graph"
    return result


def normalise(model: ModelProto) -> ModelProto:
    """All first steps, in order. The model given is not changed."""
    steps = (
        use_default_domain,
        inline_functions,
        drop_initializer_inputs,
        sort_nodes,
        name_nodes,
        name_graph,
        plain_ending,
    )
    for step in steps:
        model = step(model)
    return model


def _stored_names(graph: GraphProto) -> set[str]:
    return {tensor.name for tensor in graph.initializer} | {
        sparse.values.name for sparse in graph.sparse_initializer
    }


def _needs(node: NodeProto) -> list[str]:
    """Tensors a node reads, those its subgraphs capture from outside included."""
    needs = list(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            own = {value.name for value in graph.input} | _stored_names(graph)
            own |= {name for inner in graph.node for name in inner.output}
            needs += [name for inner in graph.node for name in _needs(inner) if name not in own]
    return needs
