"""Cast and CastLike. Everything here is computed in float32, so float widths fall together."""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import Tensor

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.rounding import straight_through

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_INTEGERS = (
    TensorProto.UINT8,
    TensorProto.INT8,
    TensorProto.UINT16,
    TensorProto.INT16,
    TensorProto.INT32,
    TensorProto.INT64,
)


@operator("Cast", since=(6, 9, 13, 19, 21, 23, 24, 25, 28))
def cast(node: Node) -> Bound:
    """ONNX Cast-13.

    Float to integer truncates; the result stays a float that holds whole numbers, so that a gradient passes
    straight through. Integer tensors (shapes, indices) stay integer tensors.
    """
    to = node.attribute("to")
    if to in _FLOATS:
        return node.bind(Apply(_to_float), 0)
    if to == TensorProto.BOOL:
        return node.bind(Apply(_to_bool), 0)
    if to in _INTEGERS:
        return node.bind(Apply(_to_integer), 0)
    raise DeclinedError(f"cast to {TensorProto.DataType.Name(to).lower()}")


def _to_float(x: Tensor) -> Tensor:
    return x.to(torch.float32)


def _to_bool(x: Tensor) -> Tensor:
    return x != 0


def _to_integer(x: Tensor) -> Tensor:
    if x.is_floating_point():
        return straight_through(x, torch.trunc(x))
    return x.to(torch.int64)


@operator("CastLike", since=(15, 19, 21, 23, 24, 25))
def cast_like(node: Node) -> Bound:
    """ONNX CastLike-15: cast to the element type of the second input."""
    return node.bind(Apply(_cast_like), 0, 1)


def _cast_like(x: Tensor, like: Tensor) -> Tensor:
    if like.is_floating_point():
        return _to_float(x)
    return _to_bool(x) if like.dtype == torch.bool else _to_integer(x)
