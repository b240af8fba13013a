"""Who makes a tensor, who reads it: questions about one graph, answered once and looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
from onnx import (
    AttributeProto,
    GraphProto,
    NodeProto,
    TensorProto,
    TensorShapeProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

RECURRENT = ("LSTM", "GRU", "RNN")
"""Layers that go along a sequence: `(T, B, I)` and weights `(D, G H, I)` and `(D, G H, H)`."""


class Wiring:
    """Lookup tables over a graph that does not change meanwhile.

    Attributes:
        graph: The graph asked about.
        maker: Tensor name to the node that makes it.
        readers: Tensor name to the nodes that read it.
        stored: Initializer name to its tensor.
    """

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.stored: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.maker: dict[str, NodeProto] = {}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            self.maker.update((name, node) for name in node.output if name)
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        values = (*graph.input, *graph.output, *graph.value_info)
        self._dims = {value.name: dims for value in values if (dims := dims_of(value)) is not None}

    def constant(self, name: str) -> npt.NDArray[np.generic] | None:
        """The value of a tensor that does not depend on the input, None for every other tensor."""
        if name in self.stored:
            return numpy_helper.to_array(self.stored[name])
        node = self.maker.get(name)
        if node is not None and node.op_type == "Constant" and node.domain == "":
            return constant_value(node)
        return None

    def dims(self, name: str) -> list[int | str | None] | None:
        """Declared or inferred shape: numbers, symbols, None for unknown sizes; None for unknown rank."""
        if name in self.stored:
            return list(self.stored[name].dims)
        return self._dims.get(name)

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """All tensors that `names` are made from, themselves included."""
        return _reach(names, lambda name: self.maker[name].input if name in self.maker else ())

    def descendants(self, names: Iterable[str]) -> set[str]:
        """All tensors made from `names`, themselves included."""
        return _reach(names, lambda name: [out for node in self.readers.get(name, ()) for out in node.output])


def constant_value(node: NodeProto) -> npt.NDArray[np.generic] | None:
    """The value of a `Constant` node, whichever attribute holds it; None for strings and sparse tensors."""
    if not node.attribute:
        return None
    attribute = node.attribute[0]
    if attribute.type == AttributeProto.TENSOR:
        return numpy_helper.to_array(attribute.t)
    value = helper.get_attribute_value(attribute)
    if attribute.name in ("value_float", "value_floats"):
        return np.asarray(value, dtype=np.float32)
    if attribute.name in ("value_int", "value_ints"):
        return np.asarray(value, dtype=np.int64)
    return None


def attribute(node: NodeProto, name: str, default: object = None) -> object:
    """Value of a node attribute (text as `str`), or `default` where the node has none of that name."""
    for entry in node.attribute:
        if entry.name == name:
            value = helper.get_attribute_value(entry)
            return value.decode("utf-8") if isinstance(value, bytes) else value
    return default


def groups_of(node: NodeProto) -> int:
    """Groups of a convolution."""
    return int(attribute(node, "group", 1))  # type: ignore[call-overload, no-any-return]


def dims_of(value: ValueInfoProto) -> list[int | str | None] | None:
    """Shape of a `ValueInfoProto`: numbers, symbols, None for unknown sizes; None for unknown rank."""
    tensor_type = value.type.tensor_type
    if not tensor_type.HasField("shape"):
        return None
    return [_dim(dim) for dim in tensor_type.shape.dim]


def _dim(dim: TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None


def _reach(names: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    """Everything that can be reached from `names` step by step, themselves included."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name and name not in seen:
            seen.add(name)
            waiting.extend(following(name))
    return seen
