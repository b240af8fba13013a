"""Tensors made from little or nothing: Constant, ConstantOfShape, Range, EyeLike, OneHot, NonZero."""

from __future__ import annotations

import math

import numpy as np
import torch
from onnx import AttributeProto, TensorProto, numpy_helper
from torch import Tensor, nn

from cake_onnx.graph.operators.dimensions import bind_integers, numbers, whole_numbers
from cake_onnx.graph.operators.gather import from_the_start
from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator

_TYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float32,
    TensorProto.FLOAT16: torch.float32,
    TensorProto.BFLOAT16: torch.float32,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
}


class Stored(nn.Module):
    """A tensor of the model, on whatever device the module is.

    Args:
        value: The tensor.
    """

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self) -> Tensor:
        """The tensor."""
        return self.value


@operator("Constant", since=(1, 9, 11, 12, 13, 19, 21, 23, 24, 25))
def constant(node: Node) -> Bound:
    """ONNX Constant-13: a tensor, a sparse one, numbers or lists of them; text has no place here."""
    for name, kind in (
        ("value_float", torch.float32),
        ("value_floats", torch.float32),
        ("value_int", torch.int64),
        ("value_ints", torch.int64),
    ):
        numbers = node.attribute(name)
        if numbers is not None:
            return Bound(Stored(torch.tensor(numbers, dtype=kind)), ())
    value, sparse = node.attribute("value"), node.attribute("sparse_value")
    if isinstance(value, Tensor):
        return Bound(Stored(_narrowed(value)), ())
    if isinstance(sparse, AttributeProto):
        return Bound(Stored(_narrowed(_dense(sparse))), ())
    raise DeclinedError("a Constant that holds text")


def _narrowed(value: Tensor) -> Tensor:
    return value.to(torch.float32) if value.is_floating_point() else value


def _dense(attribute: AttributeProto) -> Tensor:
    sparse = attribute.sparse_tensor
    values, places = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), dtype=values.dtype)
    # Indices are places in the flattened tensor, or one row of coordinates for each value.
    flat = places if places.ndim == 1 else np.ravel_multi_index(tuple(places.T), dense.shape)
    dense.reshape(-1)[flat] = values
    return torch.from_numpy(dense)


class Filled(nn.Module):
    """Tensors of one value.

    Args:
        value: The value, of any shape with one element.
    """

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value.reshape(()))

    def forward(self, shape: Tensor) -> Tensor:
        """A tensor of the shape; which must not depend on the data."""
        return self.value.expand(whole_numbers(shape)).clone()


@operator("ConstantOfShape", since=(9, 20, 21, 23, 24, 25))
def constant_of_shape(node: Node) -> Bound:
    """ONNX ConstantOfShape-9: float zeros unless there is a value."""
    value = node.attribute("value")
    return node.bind(Filled(torch.tensor(0.0) if value is None else _narrowed(value)), 0)


@operator("Range", since=(11, 27))
def range_(node: Node) -> Bound:
    """ONNX Range-11: from start, limit excluded, by steps; their number must not depend on the data."""
    node.ignore("stash_type")  # the precision of the sum, which is float32 here
    return node.bind(Apply(_range), 0, 1, 2)


def _range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    first, step = start.reshape(()), delta.reshape(())
    low, high, by = (numbers(value.detach())[0] for value in (start, limit, delta))
    # Integers stay integers, so that large ones keep their last digit.
    count = -((low - high) // by) if isinstance(low + high + by, int) else math.ceil((high - low) / by)
    # A sum and not torch.arange, so that a gradient passes to start and step.
    return first + torch.arange(max(int(count), 0), device=start.device).to(step.dtype) * step


@operator("EyeLike", since=(9, 22))
def eye_like(node: Node) -> Bound:
    """ONNX EyeLike-22: ones on the diagonal `k`, in the shape of the input."""
    code = node.attribute("dtype")
    if code is not None and code not in _TYPES:
        raise DeclinedError(f"EyeLike of {TensorProto.DataType.Name(code).lower()}")
    return node.bind(Apply(_eye_like, k=node.attribute("k", 0), dtype=_TYPES.get(code)), 0)


def _eye_like(x: Tensor, k: int, dtype: torch.dtype | None) -> Tensor:
    rows = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    columns = torch.arange(x.shape[1], device=x.device)
    return (columns - rows == k).to(x.dtype if dtype is None else dtype)


@operator("OneHot", since=(9, 11, 28))
def one_hot(node: Node) -> Bound:
    """ONNX OneHot-11: a new axis of `depth`; an index out of range gives the off value everywhere."""
    return bind_integers(node, _one_hot, (0, 2), {"depth": 1}, axis=node.attribute("axis", -1))


def _one_hot(index: Tensor, values: Tensor, depth: list[int], axis: int) -> Tensor:
    axis = axis % (index.dim() + 1)
    shape = [1] * (index.dim() + 1)
    shape[axis] = -1
    places = torch.arange(depth[0], device=index.device).reshape(shape)
    hot = from_the_start(index, depth[0]).unsqueeze(axis) == places
    return torch.where(hot, values[1], values[0])


@operator("NonZero", since=(9, 13))
def non_zero(node: Node) -> Bound:
    """ONNX NonZero-13: coordinates `(rank, n)`, in the order of the elements. They carry no gradient."""
    return node.bind(Apply(_non_zero), 0)


def _non_zero(x: Tensor) -> Tensor:
    return torch.nonzero(x.reshape(-1) if x.dim() == 0 else x).transpose(0, 1)
