"""The layers of a graph by names that people know, those together that are always equally wide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import NodeProto

from cake_onnx.graph.channels.follow import Channels
from cake_onnx.graph.channels.items import Label
from cake_onnx.graph.wiring import RECURRENT, Wiring

_MAKING = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ENDINGS = (".weight", ".bias")


@dataclass(frozen=True)
class Layers:
    """Layers that lose channels together, since something such as a residual addition ties their outputs.

    Attributes:
        names: One a layer, in the order of the graph.
        width: Channels, or features, that each of them gives.
        key: A weight and its axis that is as long as the layers are wide, before and after narrowing.
    """

    names: tuple[str, ...]
    width: int
    key: tuple[str, int]


def layers_of(channels: Channels) -> tuple[Layers, ...]:
    """All layers with stored weights whose outputs can lose channels."""
    items, wiring = channels.items, Wiring(channels.model.graph)
    found: dict[frozenset[int], Layers] = {}
    for node, weight, axis, label in _making(channels):
        tied = frozenset(root for item in label.tolist() for root in items.roots(item))
        if all(items.is_frozen(item) for item in tied):
            continue
        before = found.get(tied)
        names = (*(before.names if before else ()), _name(node, weight, wiring))
        found[tied] = Layers(names, len(label), before.key if before else (weight, axis))
    return tuple(found.values())


def _making(channels: Channels) -> Iterator[tuple[NodeProto, str, int, Label]]:
    """Nodes with the weight that makes their output, its axis along the output, and what runs there."""
    stored = {tensor.name for tensor in channels.model.graph.initializer}
    for node in channels.model.graph.node:
        if node.op_type in RECURRENT and not node.domain:
            # Units, not their gates.
            units = channels.labels.get(node.input[2], [None, None, None])[2]
            if units is not None:
                yield node, node.input[2], 2, units
        if node.op_type not in _MAKING or node.domain:
            continue
        for weight in (name for name in node.input[:2] if name in stored):
            for axis, label in enumerate(channels.labels.get(weight, ())):
                if label is not None and axis != channels.contracted.get(weight):
                    yield node, weight, axis, label


def _name(node: NodeProto, weight: str, wiring: Wiring) -> str:
    """What the network called the layer where its weight or bias tells, else what the file calls the node.

    Exporters rename weights that they fold or transpose, but seldom the bias that is added afterwards.
    """
    adding = [reader for reader in wiring.readers.get(node.output[0], []) if reader.op_type == "Add"]
    biases = [name for reader in adding[:1] for name in reader.input if name in wiring.stored]
    for name in (weight, *node.input[2:3], *biases):
        for ending in _ENDINGS:
            if name.endswith(ending):
                return str(name).removesuffix(ending)
    return node.name or weight
