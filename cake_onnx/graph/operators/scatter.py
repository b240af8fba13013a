"""Elements written by index: Scatter, ScatterElements, ScatterND, TensorScatter."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cake_onnx.graph.operators.gather import flat_places, from_the_start
from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator

_REDUCTIONS = {"add": "sum", "mul": "prod", "min": "amin", "max": "amax"}


def _reduction(node: Node) -> str | None:
    """How torch calls what happens to elements that are written more than once; None for overwriting."""
    name = node.attribute("reduction", "none")
    if name != "none" and name not in _REDUCTIONS:
        raise DeclinedError(f"{node.op_type} with reduction={name}")
    return _REDUCTIONS.get(name)


def _write(x: Tensor, axis: int, places: Tensor, updates: Tensor, reduction: str | None) -> Tensor:
    kind = torch.promote_types(x.dtype, updates.dtype)
    x, updates = x.to(kind), updates.to(kind)
    if reduction is None:
        return x.scatter(axis, places, updates)
    if reduction == "sum":
        return x.scatter_add(axis, places, updates)
    return x.scatter_reduce(axis, places, updates, reduce=reduction, include_self=True)


@operator("Scatter", since=(9, 11))
@operator("ScatterElements", since=(11, 13, 16, 18))
def scatter_elements(node: Node) -> Bound:
    """ONNX ScatterElements-18, and Scatter-9, its older name: one index for each update, along one axis."""
    options = {"axis": node.attribute("axis", 0), "reduction": _reduction(node)}
    return node.bind(Apply(_scatter_elements, **options), 0, 1, 2)


def _scatter_elements(x: Tensor, index: Tensor, updates: Tensor, axis: int, reduction: str | None) -> Tensor:
    return _write(x, axis, from_the_start(index, x.shape[axis]), updates, reduction)


@operator("ScatterND", since=(11, 13, 16, 18))
def scatter_nd(node: Node) -> Bound:
    """ONNX ScatterND-18: each index tuple names an element or a slice that an update is written to."""
    return node.bind(Apply(_scatter_nd, reduction=_reduction(node)), 0, 1, 2)


def _scatter_nd(x: Tensor, index: Tensor, updates: Tensor, reduction: str | None) -> Tensor:
    depth = index.shape[-1]
    width = math.prod(x.shape[depth:])
    places = flat_places(index, tuple(x.shape[:depth])).reshape(-1, 1).expand(-1, width)
    flat = x.reshape(-1, width)
    return _write(flat, 0, places, updates.reshape(-1, width), reduction).reshape(x.shape)


@operator("TensorScatter", since=(24,))
def tensor_scatter(node: Node) -> Bound:
    """ONNX TensorScatter-24: a block written into a cache at a place of its own for each sample."""
    mode = node.attribute("mode", "linear")
    if mode not in ("linear", "circular"):
        raise DeclinedError(f"TensorScatter with mode={mode}")
    options = {"axis": node.attribute("axis", -2), "circular": mode == "circular"}
    return node.bind(Apply(_tensor_scatter, **options), 0, 1, 2)


def _tensor_scatter(
    cache: Tensor, update: Tensor, starts: Tensor | None = None, *, axis: int, circular: bool
) -> Tensor:
    axis = axis % cache.dim()
    along = [1] * cache.dim()
    along[axis] = -1
    places = torch.arange(update.shape[axis], device=cache.device).reshape(along)
    if starts is not None:
        places = places + starts.to(torch.int64).reshape(-1, *[1] * (cache.dim() - 1))
    if circular:
        places = places % cache.shape[axis]
    return cache.scatter(axis, places.expand(update.shape), update)
