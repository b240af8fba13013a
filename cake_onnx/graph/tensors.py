"""Walk every tensor of a model, and weigh tensors before anyone unpacks them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError

_BITS: dict[int, int] = {
    TensorProto.FLOAT: 32,
    TensorProto.UINT8: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT16: 16,
    TensorProto.INT16: 16,
    TensorProto.INT32: 32,
    TensorProto.INT64: 64,
    TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16,
    TensorProto.DOUBLE: 64,
    TensorProto.UINT32: 32,
    TensorProto.UINT64: 64,
    TensorProto.BFLOAT16: 16,
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
    TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E4M3FNUZ: 8,
    TensorProto.FLOAT8E5M2: 8,
    TensorProto.FLOAT8E5M2FNUZ: 8,
}


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor: initializers and attributes, in subgraphs and functions too."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t
        yield from attribute.tensors
        if attribute.type == AttributeProto.GRAPH:
            yield from _graph_tensors(attribute.g)
        for graph in attribute.graphs:
            yield from _graph_tensors(graph)


def declared_bytes(tensor: TensorProto) -> int | None:
    """Bytes the declared shape and element type need, None where the type has no fixed width (strings).

    Raises:
        UnsupportedTeacherError: A dimension is negative.
    """
    if any(dim < 0 for dim in tensor.dims):
        raise UnsupportedTeacherError(
            "tensors with sizes of zero or more",
            f"{tensor.name or 'a tensor'} with shape {list(tensor.dims)}",
            "export the model again",
        )
    bits = _BITS.get(tensor.data_type)
    return None if bits is None else math.ceil(math.prod(tensor.dims) * bits / 8)


def check_stored_sizes(model: ModelProto) -> None:
    """Compare what every tensor declares with what it stores, before anything is unpacked.

    Raises:
        UnsupportedTeacherError: A tensor stores more or less than its shape says.
    """
    for tensor in all_tensors(model):
        wanted = declared_bytes(tensor)
        if wanted is None or tensor.data_location == TensorProto.EXTERNAL:
            continue
        if tensor.HasField("raw_data"):
            stored = len(tensor.raw_data)
            wrong = stored != wanted
        else:
            # Typed fields hold at most one element an entry (complex and packed 4-bit ones excepted).
            stored = _typed_entries(tensor)
            wrong = stored < math.prod(tensor.dims) and tensor.data_type not in _PACKED
        if wrong:
            raise UnsupportedTeacherError(
                f"{wanted:,} bytes for tensor '{tensor.name}' of shape {list(tensor.dims)}",
                f"{stored:,} {'bytes' if tensor.HasField('raw_data') else 'entries'} stored",
                "the file is damaged: download or export the model again",
            )


_PACKED = (TensorProto.UINT4, TensorProto.INT4)


def _typed_entries(tensor: TensorProto) -> int:
    fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    return max(len(field) for field in fields)


def refuse_nan_weights(model: ModelProto) -> None:
    """Check that every floating-point weight is a number.

    Raises:
        UnsupportedTeacherError: A weight is NaN.
    """
    for tensor in all_tensors(model):
        if tensor.data_type not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
            continue
        values = numpy_helper.to_array(tensor)
        # Infinity is a legitimate constant of masks and clips; NaN never is.
        if np.isnan(values).any():
            raise UnsupportedTeacherError(
                "weights that are numbers",
                f"NaN in {int(np.isnan(values).sum()):,} of {values.size:,} values of '{tensor.name}'",
                "train the teacher again; this one's training has overflowed",
            )


def opset_of(model: ModelProto, domain: str = "") -> int | None:
    """Imported version of an operator domain; `ai.onnx` and the empty name are the same domain."""
    names = ("", "ai.onnx") if domain in ("", "ai.onnx") else (domain,)
    versions = [entry.version for entry in model.opset_import if entry.domain in names]
    return max(versions) if versions else None


def rename_tensors(model: ModelProto, names: Mapping[str, str]) -> None:
    """Give tensors of the outer graph other names, in place; inputs and outputs of the graph keep theirs."""
    for node in model.graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)


def copy_model(model: ModelProto) -> ModelProto:
    """A deep copy, so that no step changes the model it was given."""
    copied = ModelProto()
    copied.CopyFrom(model)
    return copied
