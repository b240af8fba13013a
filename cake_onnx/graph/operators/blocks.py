"""Elements moved as whole blocks: DepthToSpace, SpaceToDepth, Tile, Trilu, ReverseSequence, Col2Im."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.dimensions import bind_integers, whole_numbers
from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator

# Axes of x (B, C, H, W) taken apart, and where each of them goes.
_TO_SPACE = {"DCR": (0, 3, 4, 1, 5, 2), "CRD": (0, 1, 4, 2, 5, 3)}
_TO_DEPTH = {"DCR": (0, 3, 5, 1, 2, 4), "CRD": (0, 1, 3, 5, 2, 4)}


@operator("DepthToSpace", since=(1, 11, 13, 28))
def depth_to_space(node: Node) -> Bound:
    """ONNX DepthToSpace-13: channels become blocks of pixels. `DCR` counts blocks first, `CRD` channels."""
    return node.bind(Apply(_depth_to_space, block=node.attribute("blocksize"), mode=_mode(node)), 0)


@operator("SpaceToDepth", since=(1, 13, 28))
def space_to_depth(node: Node) -> Bound:
    """ONNX SpaceToDepth-28: the inverse of DepthToSpace."""
    return node.bind(Apply(_space_to_depth, block=node.attribute("blocksize"), mode=_mode(node)), 0)


def _mode(node: Node) -> str:
    mode: str = node.attribute("mode", "DCR")
    if mode not in _TO_SPACE:
        raise DeclinedError(f"{node.op_type} with mode={mode}")
    return mode


def _depth_to_space(x: Tensor, block: int, mode: str) -> Tensor:
    batch, channels, height, width = x.shape
    kept = channels // block**2
    apart = (block, block, kept) if mode == "DCR" else (kept, block, block)
    moved = x.reshape(batch, *apart, height, width).permute(_TO_SPACE[mode])
    return moved.reshape(batch, kept, height * block, width * block)


def _space_to_depth(x: Tensor, block: int, mode: str) -> Tensor:
    batch, channels, height, width = x.shape
    rows, columns = height // block, width // block
    moved = x.reshape(batch, channels, rows, block, columns, block).permute(_TO_DEPTH[mode])
    return moved.reshape(batch, channels * block**2, rows, columns)


@operator("Tile", since=(1,))
def tile_1(node: Node) -> Bound:
    """ONNX Tile-1: repetitions along one axis."""
    return bind_integers(node, _tile_axis, (0,), {"tiles": 1, "axis": 2})


def _tile_axis(x: Tensor, tiles: list[int], axis: list[int]) -> Tensor:
    repeats = [1] * x.dim()
    repeats[axis[0]] = tiles[0]
    return x.repeat(repeats)


@operator("Tile", since=(6, 13))
def tile(node: Node) -> Bound:
    """ONNX Tile-13: repetitions along every axis."""
    return bind_integers(node, _tile, (0,), {"repeats": 1})


def _tile(x: Tensor, repeats: list[int]) -> Tensor:
    return x.repeat(repeats)


@operator("Trilu", since=(14,))
def trilu(node: Node) -> Bound:
    """ONNX Trilu-14: the upper or lower triangle from the diagonal `k`, zeros elsewhere."""
    return bind_integers(node, _trilu, (0,), {"k": 1}, upper=bool(node.attribute("upper", 1)))


def _trilu(x: Tensor, k: list[int] | None, upper: bool) -> Tensor:
    diagonal = k[0] if k else 0
    return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)


@operator("ReverseSequence", since=(10, 28))
def reverse_sequence(node: Node) -> Bound:
    """ONNX ReverseSequence-10: each sample backwards in time up to a length of its own."""
    axes = {"time": node.attribute("time_axis", 0), "batch": node.attribute("batch_axis", 1)}
    return node.bind(Apply(_reverse_sequence, **axes), 0, 1)


def _reverse_sequence(x: Tensor, lengths: Tensor, time: int, batch: int) -> Tensor:
    steps = torch.arange(x.shape[time], device=x.device)
    until = lengths.to(torch.int64).unsqueeze(1)
    places = torch.where(steps < until, until - 1 - steps, steps)
    moved = x.movedim((batch, time), (0, 1))
    places = places.reshape(*places.shape, *[1] * (x.dim() - 2)).expand(moved.shape)
    return moved.gather(1, places).movedim((0, 1), (batch, time))


@operator("Col2Im", since=(18,))
def col2im(node: Node) -> Bound:
    """ONNX Col2Im-18: columns `(B, C * prod(block), L)` added up to images; overlapping elements sum."""
    image, block = node.constant(1), node.constant(2)
    if image is None or block is None:
        raise DeclinedError("Col2Im with a computed shape")
    sizes, kernel = whole_numbers(image), whole_numbers(block)
    rank = len(sizes)
    pads = node.attribute("pads") or [0] * (2 * rank)
    strides = node.attribute("strides") or [1] * rank
    dilations = node.attribute("dilations") or [1] * rank
    padded = [size + pads[axis] + pads[axis + rank] for axis, size in enumerate(sizes)]
    places = torch.from_numpy(_column_places(padded, kernel, strides, dilations))
    crop = [-amount for axis in reversed(range(rank)) for amount in (pads[axis], pads[axis + rank])]
    return node.bind(Apply(_col2im, places=places, kernel=math.prod(kernel), padded=padded, crop=crop), 0)


def _column_places(
    padded: list[int], kernel: list[int], strides: list[int], dilations: list[int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Where in the flattened padded image each element of a column belongs, `(prod(kernel) * L,)`."""
    spans = [dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    starts = [
        range(0, size - span + 1, stride) for size, span, stride in zip(padded, spans, strides, strict=True)
    ]
    corners = np.array(list(product(*starts)), dtype=np.int64)
    offsets = np.array(list(product(*map(range, kernel))), dtype=np.int64) * np.array(dilations)
    places = offsets[:, None, :] + corners[None, :, :]
    flat: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = np.ravel_multi_index(
        tuple(places.reshape(-1, len(padded)).T), tuple(padded)
    )
    return flat


def _col2im(x: Tensor, places: Tensor, kernel: int, padded: list[int], crop: list[int]) -> Tensor:
    batch, channels = x.shape[0], x.shape[1] // kernel
    empty = torch.zeros(batch, channels, math.prod(padded), dtype=x.dtype, device=x.device)
    images = empty.index_add(2, places.to(x.device), x.reshape(batch, channels, -1))
    return functional.pad(images.reshape(batch, channels, *padded), crop)
