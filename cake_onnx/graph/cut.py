"""Cut a classifier in two: the body that computes raw scores, and the tail that dresses them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.ending import Ending
from cake_onnx.graph.specs import OutputSpec
from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring

Relation = Literal["identity", "one_score", "one_vs_rest", "log"]


@dataclass(frozen=True)
class Cut:
    """Where body and tail meet, and how logits relate to the tensor there.

    Attributes:
        tensor: Name of the tensor in the prepared graph.
        relation: `identity`: the tensor holds the K logits. `one_score`: it holds one score s, before a
            sigmoid or compared with 0; logits are (-s/2, s/2). `one_vs_rest`: it holds K scores, each before
            a sigmoid of its own, and the results add up to 1; logits are log sigmoid, centred. `log`: it
            holds probabilities, logits are their logarithm, centred.
    """

    tensor: str
    relation: Relation


def tail_nodes(
    wiring: Wiring, cut: str, outputs: Sequence[str] | None = None
) -> tuple[list[NodeProto], str | None]:
    """Nodes that lead from a tensor to graph outputs.

    Args:
        wiring: Lookup tables of the graph.
        cut: Name of the tensor.
        outputs: Names of the outputs, None for all.

    Returns:
        The nodes in graph order, and the name of an output that also reads the graph elsewhere (None where
        all outputs follow from the tensor alone).
    """
    inputs = {value.name for value in wiring.graph.input}
    needed: set[str] = set()
    for output in outputs if outputs is not None else [value.name for value in wiring.graph.output]:
        waiting, seen = [output], set()
        while waiting:
            name = waiting.pop()
            if name == cut or name in seen or not name:
                continue
            if name in inputs:
                return [], output
            seen.add(name)
            if name in wiring.maker:
                waiting.extend(wiring.maker[name].input)
        needed |= seen
    return [node for node in wiring.graph.node if needed.intersection(node.output)], None


def choose_tensor(wiring: Wiring, ending: Ending) -> str:
    """The raw score tensor nearest to the output from which every graph output follows.

    Raises:
        UnsupportedTeacherError: An output shows something else of the inside of the model.
    """
    culprit: str | None = None
    for tensor in ending.raw:
        culprit = tail_nodes(wiring, tensor)[1]
        if culprit is None:
            return tensor
    raise UnsupportedTeacherError(
        "a model whose outputs all follow from its class scores",
        f"output '{culprit}', which shows something from inside",
        f"export the model without '{culprit}'",
    )


def choose_relation(ending: Ending, output: OutputSpec, columns: int, *, sums_to_one: bool) -> Relation:
    """How logits relate to a raw tensor of `columns` numbers a sample.

    Args:
        ending: How the model ends.
        output: Its score output.
        columns: Raw scores of one sample.
        sums_to_one: The scores of a sample add up to 1.

    Raises:
        UnsupportedTeacherError: The numbers do not match the classes.
    """
    single = ending.activation == "sigmoid" or (ending.activation == "none" and output.kind == "logits")
    if single and columns == 1 and output.classes == 2:
        return "one_score"
    if columns != output.classes:
        raise UnsupportedTeacherError(
            f"{output.classes} raw scores a sample behind output '{output.scores}'",
            f"{columns}",
            "export the model with logits as its output",
        )
    if ending.activation == "sigmoid" and sums_to_one:
        return "one_vs_rest"
    return "log" if ending.activation == "none" and output.kind != "logits" else "identity"


def take_body(model: ModelProto, tensor: str) -> ModelProto:
    """The graph from the input to `tensor`, which becomes the one output."""
    result = copy_model(model)
    wiring = Wiring(model.graph)
    needed = wiring.ancestors([tensor])
    graph = result.graph
    del graph.node[:], graph.initializer[:], graph.output[:]
    graph.node.extend(node for node in model.graph.node if needed.intersection(node.output))
    graph.initializer.extend(entry for entry in model.graph.initializer if entry.name in needed)
    graph.output.append(_described(model, tensor))
    return result


def take_tail(model: ModelProto, tensor: str) -> ModelProto:
    """The graph from `tensor`, which becomes the one input, to all outputs. It may hold no node at all."""
    result = copy_model(model)
    nodes, _ = tail_nodes(Wiring(model.graph), tensor)
    needed = {name for node in nodes for name in node.input}
    graph = result.graph
    del graph.node[:], graph.initializer[:], graph.input[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(entry for entry in model.graph.initializer if entry.name in needed)
    graph.input.append(_described(model, tensor))
    return result


def _described(model: ModelProto, tensor: str) -> ValueInfoProto:
    values: list[ValueInfoProto] = [*model.graph.value_info, *model.graph.output, *model.graph.input]
    for value in values:
        if value.name == tensor:
            return value
    # Inference does not know every operator; scores are float32 unless something says otherwise.
    unknown: ValueInfoProto = helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None)
    return unknown
