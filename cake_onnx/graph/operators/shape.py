"""Shapes: Reshape, Flatten, Shape, Size, Squeeze, Unsqueeze, Expand, Transpose, Identity, Dropout."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cake_onnx.graph.operators.dimensions import bind_integers
from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator


@operator("Reshape", since=(1,))
def reshape_1(node: Node) -> Bound:
    """ONNX Reshape-1: the target is an attribute, 0 copies an axis."""
    node.ignore("consumed_inputs")  # a hint about memory
    return node.bind(Apply(_reshape, target=node.attribute("shape", []), allowzero=False), 0)


@operator("Reshape", since=(5, 13, 14, 19, 21, 23, 24, 25))
def reshape(node: Node) -> Bound:
    """ONNX Reshape-14: 0 copies an axis unless `allowzero` is 1."""
    return bind_integers(node, _reshape, (0,), {"target": 1}, allowzero=bool(node.attribute("allowzero", 0)))


def _reshape(x: Tensor, target: list[int], allowzero: bool) -> Tensor:
    if not allowzero:
        target = [x.shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    return x.reshape(target)


@operator("Flatten", since=(1, 9, 11, 13, 21, 23, 24, 25))
def flatten(node: Node) -> Bound:
    """ONNX Flatten-13: always to two axes; the axis may be negative, 0 or the rank."""
    return node.bind(Apply(_flatten, axis=node.attribute("axis", 1)), 0)


def _flatten(x: Tensor, axis: int) -> Tensor:
    axis = axis + x.dim() if axis < 0 else axis
    rows = math.prod(x.shape[:axis])
    return x.reshape(rows, math.prod(x.shape[axis:]))


@operator("Shape", since=(1, 13, 15, 19, 21, 23, 24, 25))
def shape(node: Node) -> Bound:
    """ONNX Shape-15: sizes of the axes from `start` to `end`, as int64."""
    return node.bind(Apply(_shape, start=node.attribute("start", 0), end=node.attribute("end")), 0)


def _shape(x: Tensor, start: int, end: int | None) -> Tensor:
    return torch.tensor(list(x.shape)[start:end], dtype=torch.int64, device=x.device)


@operator("Size", since=(1, 13, 19, 21, 23, 24, 25))
def size(node: Node) -> Bound:
    """ONNX Size-13: number of elements, as int64."""
    return node.bind(Apply(_size), 0)


def _size(x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64, device=x.device)


@operator("Squeeze", since=(1, 11))
def squeeze_1(node: Node) -> Bound:
    """ONNX Squeeze-11: the axes are an attribute; none given means all of size 1."""
    return node.bind(Apply(_squeeze, axes=node.attribute("axes")), 0)


@operator("Squeeze", since=(13, 21, 23, 24, 25))
def squeeze(node: Node) -> Bound:
    """ONNX Squeeze-13: the axes are an input; none given means all of size 1."""
    return bind_integers(node, _squeeze, (0,), {"axes": 1})


def _squeeze(x: Tensor, axes: list[int] | None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@operator("Unsqueeze", since=(1, 11))
def unsqueeze_1(node: Node) -> Bound:
    """ONNX Unsqueeze-11: the axes are an attribute and count in the result."""
    return node.bind(Apply(_unsqueeze, axes=node.attribute("axes", [])), 0)


@operator("Unsqueeze", since=(13, 21, 23, 24, 25))
def unsqueeze(node: Node) -> Bound:
    """ONNX Unsqueeze-13: the axes are an input and count in the result."""
    return bind_integers(node, _unsqueeze, (0,), {"axes": 1})


def _unsqueeze(x: Tensor, axes: list[int]) -> Tensor:
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Expand", since=(8, 13))
def expand(node: Node) -> Bound:
    """ONNX Expand-13: broadcasting in both directions, so a 1 in the target keeps the input's size."""
    return bind_integers(node, _expand, (0,), {"target": 1})


def _expand(x: Tensor, target: list[int]) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(target)))


@operator("Transpose", since=(1, 13, 21, 23, 24, 25))
def transpose(node: Node) -> Bound:
    """ONNX Transpose-13: without `perm` the axes are reversed."""
    return node.bind(Apply(_transpose, perm=node.attribute("perm")), 0)


def _transpose(x: Tensor, perm: list[int] | None) -> Tensor:
    return x.permute(perm if perm is not None else list(reversed(range(x.dim()))))


@operator("Identity", since=(1, 13, 14, 16, 19, 21, 23, 24, 25))
def identity(node: Node) -> Bound:
    """ONNX Identity."""
    return node.bind(torch.nn.Identity(), 0)


@operator("Dropout", since=(1, 6, 7, 10))
def dropout_1(node: Node) -> Bound:
    """ONNX Dropout-10, always at inference: the input itself, and a mask that keeps everything."""
    node.ignore("ratio", "is_test", "consumed_inputs")  # for training, and a hint about memory
    # The mask had the element type of the data before version 10.
    mask_type = torch.bool if node.version >= 10 else torch.float32
    return _kept(node, mask_type)


@operator("Dropout", since=(12, 13, 22))
def dropout(node: Node) -> Bound:
    """ONNX Dropout-13 at inference, or in training mode with the ratio 0: the input itself."""
    node.ignore("seed")  # of the numbers drawn in training
    training, ratio = node.constant(2), node.constant(1)
    drops = training is None or bool(training)
    if node.has(2) and drops and (ratio is None or float(ratio) != 0.0):
        raise DeclinedError("Dropout in training mode")
    return _kept(node, torch.bool)


def _kept(node: Node, mask_type: torch.dtype) -> Bound:
    if node.outputs == 1:
        return node.bind(torch.nn.Identity(), 0)
    return node.bind(Apply(_with_mask, mask_type=mask_type), 0)


def _with_mask(x: Tensor, mask_type: torch.dtype) -> tuple[Tensor, Tensor]:
    return x, torch.ones_like(x, dtype=mask_type)
