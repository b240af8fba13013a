"""Chains of nodes that torch has one function for, written as one node before conversion.

Exporters spell GELU, LayerNorm and attention out where their opset has no operator for them, and a dense
layer over more than two axes always. Node by node, each step reads and writes all values once more, and keeps
them for the gradient. onnxscript finds the chains: by its own rules where it has them, by ours where not.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from onnx import ModelProto

from cake_onnx.graph.shapes import drop_dead_nodes

if TYPE_CHECKING:
    from onnxscript.rewriter.pattern import RewriteRuleSet

_SIGNS = frozenset({"Erf", "Tanh", "Sqrt", "MatMul", "Sigmoid"})
"""Every chain holds one of these; a graph without them is left alone, and no library imported for it."""


def fuse_chains(model: ModelProto) -> ModelProto:
    """The model with its chains as single nodes, in the private domains of operators that we convert.

    A value that is read elsewhere or that the graph gives out stays, and so does the chain around it. The
    node in place of a chain makes the tensor that the chain made, and has the place of the chain's last node.

    Args:
        model: A graph with inferred shapes and float32 weights, its nodes named `n<place>_...`.
    """
    if not _SIGNS.intersection(node.op_type for node in model.graph.node):
        return model
    import onnx_ir as ir  # with sympy, it takes as long to import as a small teacher to load

    graph = ir.from_proto(model)
    if not sum(rules.apply_to_model(graph) for rules in _rules()):
        return model
    fused = drop_dead_nodes(ir.to_proto(graph))
    places = {node.output[0]: node.name.partition("_")[0] for node in model.graph.node}
    for index, node in enumerate(fused.graph.node):
        node.name = f"{places.get(node.output[0], f'fused{index}')}_{node.op_type}"
    return fused


@cache
def _rules() -> tuple[RewriteRuleSet, ...]:
    from cake_onnx.graph.fusion import activations, attention, layers

    return activations.rules(), layers.rules(), attention.rules()
