"""Elements picked by index or condition: Gather, GatherElements, GatherND, Compress."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator


def from_the_start(index: Tensor, size: int) -> Tensor:
    """Indices as int64 from 0 to `size` - 1, where negative ones count from the end."""
    # Indices that a cast made are whole numbers in floats.
    index = index.to(torch.int64)
    return torch.where(index < 0, index + size, index)


def flat_places(index: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Places `(...)` in a flattened tensor of `sizes (k,)` for index tuples `(..., k)`."""
    flat = torch.zeros(index.shape[:-1], dtype=torch.int64, device=index.device)
    for axis, size in enumerate(sizes):
        flat = flat * size + from_the_start(index[..., axis], size)
    return flat


@operator("Gather", since=(1, 11, 13))
def gather(node: Node) -> Bound:
    """ONNX Gather-13: rows of `axis` by index, negative ones from the end; the index's shape is put there."""
    axis = node.attribute("axis", 0)
    index = node.constant(1)
    if index is not None and index.numel() == 1:
        return node.bind(Apply(_select, axis=axis, index=int(index), rank=index.dim()), 0)
    return node.bind(Apply(_gather, axis=axis), 0, 1)


def _select(x: Tensor, axis: int, index: int, rank: int) -> Tensor:
    chosen = x.select(axis, index)
    for _ in range(rank):
        chosen = chosen.unsqueeze(axis % x.dim())
    return chosen


def _gather(x: Tensor, index: Tensor, axis: int) -> Tensor:
    axis = axis % x.dim()
    places = from_the_start(index, x.shape[axis]).to(x.device)
    rows = x.index_select(axis, places.reshape(-1))
    return rows.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


@operator("GatherElements", since=(11, 13))
def gather_elements(node: Node) -> Bound:
    """ONNX GatherElements-13: one index for each element of the result, along one axis."""
    return node.bind(Apply(_gather_elements, axis=node.attribute("axis", 0)), 0, 1)


def _gather_elements(x: Tensor, index: Tensor, axis: int) -> Tensor:
    return x.gather(axis, from_the_start(index, x.shape[axis]))


@operator("GatherND", since=(11, 12, 13))
def gather_nd(node: Node) -> Bound:
    """ONNX GatherND-13: each index tuple names an element or a slice, behind `batch_dims` shared axes."""
    return node.bind(Apply(_gather_nd, batch_dims=node.attribute("batch_dims", 0)), 0, 1)


def _gather_nd(x: Tensor, index: Tensor, batch_dims: int) -> Tensor:
    shared, depth = x.shape[:batch_dims], index.shape[-1]
    named, rest = x.shape[batch_dims : batch_dims + depth], x.shape[batch_dims + depth :]
    count, width = math.prod(shared), math.prod(rest)
    places = flat_places(index, tuple(named)).reshape(count, -1, 1)
    flat = x.reshape(count, math.prod(named), width)
    chosen = flat.gather(1, places.expand(-1, -1, width))
    return chosen.reshape((*index.shape[:-1], *rest))


@operator("Compress", since=(9, 11, 28))
def compress(node: Node) -> Bound:
    """ONNX Compress-11: the entries of an axis, or of the flattened tensor, where a stored condition is true.

    A condition that is computed would make the shape of the result depend on the data.
    """
    condition = node.constant(1)
    if condition is None:
        raise DeclinedError("Compress with a computed condition")
    chosen = [place for place, keep in enumerate(condition.reshape(-1).tolist()) if keep]
    return node.bind(Apply(_compress, places=chosen, axis=node.attribute("axis")), 0)


def _compress(x: Tensor, places: list[int], axis: int | None) -> Tensor:
    if axis is None:
        x, axis = x.reshape(-1), 0
    return x.index_select(axis, torch.tensor(places, dtype=torch.int64, device=x.device))
