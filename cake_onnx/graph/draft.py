"""A graph while it is rewritten: names that are new, nodes that repeat, values that are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cake_onnx.graph.known import RANDOM, Sizes, known_values
from cake_onnx.graph.wiring import Wiring, constant_value

Names = Mapping[str, str]
"""From the names of a graph as it was to the names they have now; what is not listed keeps its name."""


class Draft:
    """Nodes and weights of the graph to be, in order.

    Attributes:
        nodes: The nodes so far.
        stored: Weights by name.
        opset: Version of the standard operators.
        sequences: Tensors in sequences whose elements are known one by one.
    """

    def __init__(self, model: ModelProto, opset: int, sizes: Wiring) -> None:
        self.nodes: list[NodeProto] = []
        self.stored: dict[str, TensorProto] = {tensor.name: tensor for tensor in model.graph.initializer}
        self.opset = opset
        self.sequences: dict[str, list[str]] = {}
        self._model = model
        self._inferred = sizes
        self._taken = set(all_names(model.graph))
        self._maker: dict[str, NodeProto] = {}
        self._values: dict[str, npt.NDArray[np.generic]] = {}
        self._repeats: dict[tuple[object, ...], list[str]] = {}
        self._numbers: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, node: NodeProto, names: Names, *, rename: bool) -> list[str]:
        """Append a copy of a node that reads what `names` says.

        Args:
            node: The node as it was.
            names: New names of what it reads.
            rename: Give it and its outputs names of their own; a node like one before is not repeated then.

        Returns:
            Names of its outputs.
        """
        copied = renamed(node, names)
        key = (copied.domain, copied.op_type, *copied.input, *sorted(map(_text, copied.attribute)))
        key = (*key, *(bool(name) for name in copied.output))
        plain = copied.op_type not in RANDOM and not any(_graphs(copied))
        if rename:
            if plain and key in self._repeats:
                return self._repeats[key]
            copied.name = self.fresh(node.name or node.op_type)
            copied.output[:] = [self.fresh(name) if name else "" for name in node.output]
            if plain:
                self._repeats[key] = list(copied.output)
        self.nodes.append(copied)
        self._maker.update((name, copied) for name in copied.output if name)
        return list(copied.output)

    def make(self, op_type: str, inputs: Sequence[str], name: str, **attributes: int | list[int]) -> str:
        """Append a node with one output; the name of the output begins with `name`."""
        node = helper.make_node(op_type, inputs, [name], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        return self.add(node, {}, rename=True)[0]

    def number(self, value: npt.NDArray[np.generic], name: str) -> str:
        """The name of a stored value, the same for the same value."""
        key = (str(value.dtype), value.shape, value.tobytes())
        if key not in self._numbers:
            self._numbers[key] = self.store(numpy_helper.from_array(value, name))
        return self._numbers[key]

    def store(self, tensor: TensorProto) -> str:
        """Store a copy of a weight under a name of its own."""
        copied = TensorProto()
        copied.CopyFrom(tensor)
        copied.name = self.fresh(tensor.name)
        self.stored[copied.name] = copied
        return copied.name

    def fresh(self, name: str) -> str:
        """A name that nothing has yet."""
        made, count = name, 0
        while made in self._taken:
            count += 1
            made = f"{name}_{len(self._taken) + count}"
        self._taken.add(made)
        return made

    def value(self, name: str) -> npt.NDArray[np.generic] | None:
        """What a tensor is for every input, None where that is not known."""
        if name in self.stored:
            return numpy_helper.to_array(self.stored[name])
        if name not in self._values:
            self._values.update(known_values(name, self._source()))
        return self._values.get(name)

    def size(self, name: str, axis: int) -> int | None:
        """Size of a tensor along an axis, None where it is not known."""
        dims = list(self.stored[name].dims) if name in self.stored else self._inferred.dims(name)
        size = dims[axis] if dims is not None and -len(dims) <= axis < len(dims) else None
        return size if isinstance(size, int) else None

    def forget(self, count: int) -> None:
        """Take back all nodes but the first `count`."""
        dropped = {id(node) for node in self.nodes[count:]}
        gone = {name for node in self.nodes[count:] for name in node.output}
        del self.nodes[count:]
        self._maker = {name: node for name, node in self._maker.items() if id(node) not in dropped}
        self._repeats = {key: made for key, made in self._repeats.items() if not gone.intersection(made)}

    def _source(self) -> Sizes:
        return Sizes(self._model, self._maker, self.stored, self._values, self._inferred)


def renamed(node: NodeProto, names: Names) -> NodeProto:
    """A copy of a node that reads other tensors, inside its subgraphs too."""
    copied = NodeProto()
    copied.CopyFrom(node)
    copied.input[:] = [names.get(name, name) for name in node.input]
    for graph in _graphs(copied):
        own = set(_own_names(graph))
        outer = {old: new for old, new in names.items() if old not in own}
        inner = [renamed(each, outer) for each in graph.node]
        del graph.node[:]
        graph.node.extend(inner)
        for value in graph.output:
            value.name = outer.get(value.name, value.name)
    return copied


def needs(node: NodeProto) -> set[str]:
    """Tensors a node reads, those included that its subgraphs read from outside."""
    found = {name for name in node.input if name}
    for graph in _graphs(node):
        inner = set().union(*(needs(each) for each in graph.node), (value.name for value in graph.output))
        found |= inner - set(_own_names(graph))
    return found


def all_names(graph: GraphProto) -> Iterator[str]:
    """Every name of a tensor or a node in a graph and its subgraphs."""
    yield from _own_names(graph)
    for node in graph.node:
        yield node.name
        yield from node.input
        for inner in _graphs(node):
            yield from all_names(inner)


def stored_constants(graph: GraphProto) -> Iterator[TensorProto]:
    """The weights of a subgraph, whether initializers or Constant nodes."""
    yield from graph.initializer
    for node in graph.node:
        value = constant_value(node) if node.op_type == "Constant" and not node.domain else None
        if value is not None:
            yield numpy_helper.from_array(value, node.output[0])


def _own_names(graph: GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (name for node in graph.node for name in node.output)


def _graphs(node: NodeProto) -> Iterable[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _text(attribute: AttributeProto) -> bytes:
    content: bytes = attribute.SerializeToString(deterministic=True)
    return content
