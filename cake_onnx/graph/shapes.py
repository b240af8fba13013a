"""Shape inference, and the two uses made of it: weighing tensors, and writing down reshape targets."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring

MAX_TENSOR_ELEMENTS = 2**30
"""A single tensor beyond this (4 GB of float32) is refused before anything runs."""


_LARGEST_SHAPE_TENSOR = 1024
"""Values of weights up to this many elements may be sizes, which inference computes with."""


def infer_shapes(model: ModelProto) -> ModelProto:
    """The model with every shape that ONNX can tell, partial values of shape tensors included."""
    try:
        inferred = onnx.shape_inference.infer_shapes(_without_large_data(model), data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        # Operators unknown to onnx can break inference; everything here also works with fewer shapes.
        return model
    result = copy_model(model)
    del result.graph.value_info[:], result.graph.output[:]
    result.graph.value_info.extend(inferred.graph.value_info)
    result.graph.output.extend(inferred.graph.output)
    return result


def _without_large_data(model: ModelProto) -> ModelProto:
    """The model with the shapes of its large weights only; inference copies a model several times over."""
    result = ModelProto(ir_version=model.ir_version)
    result.opset_import.extend(model.opset_import)
    result.functions.extend(model.functions)
    graph = result.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _LARGEST_SHAPE_TENSOR:
            graph.initializer.append(tensor)
        else:
            graph.initializer.append(
                TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
            )
    return result


def refuse_huge_tensors(model: ModelProto) -> None:
    """Check that no tensor of one sample is beyond reason, before a runtime allocates it.

    Raises:
        UnsupportedTeacherError: A tensor has more than `MAX_TENSOR_ELEMENTS` elements.
    """
    inferred = infer_shapes(model)
    wiring = Wiring(inferred.graph)
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        sizes = [size for size in wiring.dims(value.name) or () if isinstance(size, int)]
        if math.prod(sizes) > MAX_TENSOR_ELEMENTS:
            raise UnsupportedTeacherError(
                f"tensors of at most {MAX_TENSOR_ELEMENTS:,} elements",
                f"'{value.name}' of shape {sizes}",
                "check that the file is the classifier you mean",
            )


def write_reshape_targets(model: ModelProto) -> ModelProto:
    """Replace computed reshape targets by constants where all sizes but one are known.

    Exporters compute targets such as `[batch, 49, 64]` at run time from `Shape`; as the constant
    `[-1, 49, 64]` they cost nothing and do not tie the tail of a graph to its input.
    """
    result = infer_shapes(model)
    wiring = Wiring(result.graph)
    for index, node in enumerate(result.graph.node):
        if node.op_type != "Reshape" or node.domain or wiring.constant(node.input[1]) is not None:
            continue
        dims = wiring.dims(node.output[0])
        if dims is None:
            continue
        target = [size if isinstance(size, int) and size > 0 else -1 for size in dims]
        if target.count(-1) <= 1:
            name = f"{node.output[0]}_target_{index}"
            result.graph.initializer.append(numpy_helper.from_array(np.array(target, np.int64), name))
            node.input[1] = name
            # Under allowzero=1 a zero would mean "empty"; there is none in this target.
            _set_int(node, "allowzero", 0)
    return result


def drop_dead_nodes(model: ModelProto) -> ModelProto:
    """Remove nodes and weights that no graph output needs."""
    result = copy_model(model)
    wiring = Wiring(result.graph)
    alive = wiring.ancestors(value.name for value in result.graph.output)
    # A subgraph may read tensors that the outer graph does not list; keep everything in that rare case.
    if any(attribute.HasField("g") for node in result.graph.node for attribute in node.attribute):
        return result
    nodes = [node for node in model.graph.node if alive.intersection(node.output)]
    stored = [tensor for tensor in model.graph.initializer if tensor.name in alive]
    del result.graph.node[:]
    del result.graph.initializer[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(stored)
    return result


def _set_int(node: onnx.NodeProto, name: str, value: int) -> None:
    for entry in node.attribute:
        if entry.name == name:
            entry.CopyFrom(helper.make_attribute(name, value))
