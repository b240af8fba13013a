"""Shapes: Reshape, Flatten, Shape, Size, Squeeze, Unsqueeze, Expand, Transpose, Identity, Dropout."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator


@operator("Reshape", since=(5, 13, 14, 19, 21, 23, 24, 25))
def reshape(node: Node) -> Bound:
    """ONNX Reshape-14: 0 copies an axis unless `allowzero` is 1."""
    allowzero = bool(node.attribute("allowzero", 0))
    target = node.integers(1)
    if target is not None:
        return node.bind(Apply(_reshape_to, target=target, allowzero=allowzero), 0)
    return node.bind(Apply(_reshape_like, allowzero=allowzero), 0, 1)


def _reshape_to(x: Tensor, target: list[int], allowzero: bool) -> Tensor:
    if not allowzero:
        target = [x.shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    return x.reshape(target)


def _reshape_like(x: Tensor, target: Tensor, allowzero: bool) -> Tensor:
    return _reshape_to(x, target.tolist(), allowzero)


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


@operator("Squeeze", since=(1, 11, 13, 21, 23, 24, 25))
def squeeze(node: Node) -> Bound:
    """ONNX Squeeze: axes as attribute before version 13, as input since; none given means all of size 1."""
    if node.has(1) and node.integers(1) is None:
        return node.bind(Apply(_squeeze_like), 0, 1)
    axes = node.integers(1) if node.has(1) else node.attribute("axes")
    return node.bind(Apply(_squeeze, axes=axes), 0)


def _squeeze(x: Tensor, axes: list[int] | None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _squeeze_like(x: Tensor, axes: Tensor) -> Tensor:
    return x.squeeze(tuple(axes.tolist()))


@operator("Unsqueeze", since=(1, 11, 13, 21, 23, 24, 25))
def unsqueeze(node: Node) -> Bound:
    """ONNX Unsqueeze: axes count in the result; attribute before version 13, input since."""
    if node.has(1) and node.integers(1) is None:
        return node.bind(Apply(_unsqueeze_like), 0, 1)
    axes = node.integers(1) if node.has(1) else node.attribute("axes", [])
    return node.bind(Apply(_unsqueeze, axes=axes), 0)


def _unsqueeze(x: Tensor, axes: list[int]) -> Tensor:
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _unsqueeze_like(x: Tensor, axes: Tensor) -> Tensor:
    return _unsqueeze(x, axes.reshape(-1).tolist())


@operator("Expand", since=(8, 13))
def expand(node: Node) -> Bound:
    """ONNX Expand-13: broadcasting in both directions, so a 1 in the target keeps the input's size."""
    target = node.integers(1)
    if target is not None:
        return node.bind(Apply(_expand_to, target=target), 0)
    return node.bind(Apply(_expand_like), 0, 1)


def _expand_to(x: Tensor, target: list[int]) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(target)))


def _expand_like(x: Tensor, target: Tensor) -> Tensor:
    return _expand_to(x, target.tolist())


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


@operator("Dropout", since=(1, 6, 7, 10, 12, 13, 22))
def dropout(node: Node) -> Bound:
    """ONNX Dropout at inference: the input itself."""
    node.ignore("ratio", "seed", "is_test", "consumed_inputs")
    training = node.constant(2)
    if (node.has(2) and training is None) or (training is not None and bool(training)) or node.outputs > 1:
        raise DeclinedError("dropout in training mode")
    return node.bind(torch.nn.Identity(), 0)
