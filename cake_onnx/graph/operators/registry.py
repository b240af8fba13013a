"""How an operator of ours takes the place of onnx2torch's: same registry, a domain name of our own.

onnx2torch refuses to register an operator version twice, so nodes that we convert ourselves are renamed to a
private domain first (`own_domain`), one for each version, and found there by onnx2torch like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import AttributeProto
from torch import Tensor, nn

from cake_onnx.graph.engine import import_engine
from cake_onnx.graph.wiring import dims_of

import_engine()

from onnx2torch.node_converters.registry import add_converter, get_converter  # noqa: E402  (needs the engine imported our way)
from onnx2torch.onnx_graph import OnnxGraph  # noqa: E402
from onnx2torch.onnx_node import OnnxNode  # noqa: E402
from onnx2torch.utils.common import OnnxMapping, OperationConverterResult  # noqa: E402

MICROSOFT = "com.microsoft"
ML = "ai.onnx.ml"

_OURS: set[tuple[str, str, int]] = set()


class DeclinedError(ValueError):
    """A node uses its operator in a way that has no differentiable counterpart here; the text says which."""


@dataclass(frozen=True)
class Bound:
    """A torch module and the tensors it reads at run time, by their names in the graph."""

    module: nn.Module
    inputs: tuple[str, ...]


class Node:
    """One node as a converter sees it: attributes, constant inputs, names of the others."""

    def __init__(self, node: OnnxNode, graph: OnnxGraph, version: int) -> None:
        self._node = node
        self._graph = graph
        self._asked: set[str] = set()
        self.version = version
        self.op_type: str = node.operation_type
        self.inputs: tuple[str, ...] = node.input_values
        self.outputs: int = len(node.output_values)
        self.output_names: tuple[str, ...] = tuple(node.output_values)

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute; tensors come as torch tensors."""
        self._asked.add(name)
        value = self._node.attributes.get(name, default)
        # onnx2torch hands an empty list over as the protobuf itself.
        if isinstance(value, AttributeProto):
            return value if value.HasField("sparse_tensor") else []
        return value.to_torch() if hasattr(value, "to_torch") else value

    def ignore(self, *names: str) -> None:
        """Say that attributes have no bearing on the result here; those never asked for are refused."""
        self._asked.update(names)

    def require_known_attributes(self) -> None:
        """Check that the converter has looked at all attributes of the node.

        Raises:
            DeclinedError: It has not: the attribute means something that the conversion would lose.
        """
        unknown = sorted(set(self._node.attributes) - self._asked)
        if unknown:
            raise DeclinedError(f"{self.op_type} with the attribute {unknown[0]}, which is not known here")

    def has(self, index: int) -> bool:
        """Whether the optional input is given."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def constant(self, index: int) -> Tensor | None:
        """The value of an input that is stored in the model, else None."""
        if not self.has(index) or self.inputs[index] not in self._graph.initializers:
            return None
        array = self._graph.initializers[self.inputs[index]].to_numpy()
        if array.dtype.isbuiltin == 2:
            # Element types of 8 bits and fewer that numpy itself does not know; float32 holds all of them.
            array = array.astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))

    def element_type(self, index: int) -> int:
        """ONNX code of an input's element type, 0 where the graph does not say it."""
        name = self.inputs[index] if self.has(index) else ""
        if name in self._graph.initializers:
            return int(self._graph.initializers[name].proto.data_type)
        known = self._graph.value_info.get(name)
        return int(known.type.tensor_type.elem_type) if known is not None else 0

    def dims(self, index: int) -> list[int | str | None] | None:
        """Shape of an input as far as the graph says it, see `dims_of`; None for an unknown rank."""
        name = self.inputs[index] if self.has(index) else ""
        if name in self._graph.initializers:
            return [int(size) for size in self._graph.initializers[name].proto.dims]
        known = self._graph.value_info.get(name)
        return dims_of(known) if known is not None else None

    def integers(self, index: int) -> list[int] | None:
        """A constant integer input as a list, else None."""
        value = self.constant(index)
        return None if value is None else [int(item) for item in value.reshape(-1).tolist()]

    def bind(self, module: nn.Module, *indices: int) -> Bound:
        """The module with the inputs it reads; optional inputs that are not given are left out."""
        return Bound(module, tuple(self.inputs[index] for index in indices if self.has(index)))


Builder = Callable[[Node], Bound]


def operator(op_type: str, since: Sequence[int], domain: str = "") -> Callable[[Builder], Builder]:
    """Register a converter for the versions of an operator (the "since version" of the ONNX operator pages).

    Args:
        op_type: Name of the operator.
        since: Versions the converter is right for.
        domain: Operator domain, empty for ONNX's own.
    """

    def register(build: Builder) -> Builder:
        for version in since:
            _register_one(op_type, domain, version, build)
        return build

    return register


def own_domain(domain: str, version: int) -> str:
    """The private domain for one operator version; without dots, which torch forbids in module names."""
    return f"cake_{domain.replace('.', '_') or 'onnx'}_{version}"


def is_ours(domain: str, op_type: str, version: int) -> bool:
    """Whether a converter of ours is registered."""
    return (domain, op_type, version) in _OURS


def has_converter(domain: str, op_type: str, version: int) -> bool:
    """Whether the operator version converts, by a converter of ours or of onnx2torch."""
    if is_ours(domain, op_type, version):
        return True
    try:
        get_converter(operation_type=op_type, version=version, domain=domain)
    except NotImplementedError:
        return False
    return True


def registered() -> frozenset[tuple[str, str, int]]:
    """All of ours as (domain, operator, version)."""
    return frozenset(_OURS)


def _register_one(op_type: str, domain: str, version: int, build: Builder) -> None:
    def convert(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
        seen = Node(node, graph, version)
        bound = build(seen)
        seen.require_known_attributes()
        mapping = OnnxMapping(inputs=bound.inputs, outputs=node.output_values)
        return OperationConverterResult(torch_module=bound.module, onnx_mapping=mapping)

    add_converter(operation_type=op_type, version=version, domain=own_domain(domain, version))(convert)
    _OURS.add((domain, op_type, version))


class Apply(nn.Module):
    """A function as a module; what it needs besides tensors is fixed at conversion.

    Args:
        function: Called with the run-time tensors, then with `options`.
        options: Keyword arguments, shown in `repr`.
    """

    def __init__(self, function: Callable[..., Any], /, **options: Any) -> None:
        super().__init__()
        self._function = function
        self._options = options

    def forward(self, *tensors: Tensor) -> Any:
        """Apply the function to the tensors, in graph order."""
        return self._function(*tensors, **self._options)

    def extra_repr(self) -> str:
        """Name and options of the function."""
        name = getattr(self._function, "__name__", repr(self._function))
        return ", ".join([name, *(f"{key}={value!r}" for key, value in self._options.items())])
