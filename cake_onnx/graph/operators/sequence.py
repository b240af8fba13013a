"""Sequences of tensors, as lists; their lengths and the positions in them are known from shapes alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cake_onnx.graph.operators.dimensions import bind_integers
from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator


@operator("SplitToSequence", since=(11, 24))
def split_to_sequence(node: Node) -> Bound:
    """ONNX SplitToSequence-11: pieces of one size (the last may be smaller), of given sizes, or of size 1.

    `keepdims=0` takes the axis away from slices of size 1. ONNX says so only where no sizes are given;
    exporters and onnxruntime go by it for the one size 1 as well.
    """
    sizes, axis, keep = node.constant(1), node.attribute("axis", 0), bool(node.attribute("keepdims", 1))
    if node.has(1) and sizes is None:
        raise DeclinedError("SplitToSequence with computed sizes")
    if sizes is None or (sizes.dim() == 0 and int(sizes) == 1):
        return node.bind(Apply(_split_to_slices, axis=axis, keep=keep), 0)
    if sizes.dim() == 0 and not keep:
        raise DeclinedError(f"SplitToSequence into pieces of {int(sizes)} with keepdims=0")
    given = int(sizes) if sizes.dim() == 0 else [int(size) for size in sizes.tolist()]
    return node.bind(Apply(_split_to_pieces, sizes=given, axis=axis), 0)


def _split_to_slices(x: Tensor, axis: int, keep: bool) -> list[Tensor]:
    return list(torch.split(x, 1, dim=axis) if keep else torch.unbind(x, dim=axis))


def _split_to_pieces(x: Tensor, sizes: int | list[int], axis: int) -> list[Tensor]:
    return list(torch.split(x, sizes, dim=axis))


@operator("SequenceConstruct", since=(11,))
def sequence_construct(node: Node) -> Bound:
    """ONNX SequenceConstruct-11."""
    return node.bind(Apply(_sequence), *range(len(node.inputs)))


def _sequence(*tensors: Tensor) -> list[Tensor]:
    return list(tensors)


class Empty(nn.Module):
    """A sequence of no tensors."""

    def forward(self) -> list[Tensor]:
        """A new list."""
        return []


@operator("SequenceEmpty", since=(11,))
def sequence_empty(node: Node) -> Bound:
    """ONNX SequenceEmpty-11."""
    node.ignore("dtype")  # there is no tensor to have it
    return Bound(Empty(), ())


@operator("SequenceAt", since=(11,))
def sequence_at(node: Node) -> Bound:
    """ONNX SequenceAt-11: a negative position counts from the end."""
    return bind_integers(node, _at, (0,), {"position": 1})


def _at(sequence: list[Tensor], position: list[int]) -> Tensor:
    return sequence[position[0]]


@operator("SequenceLength", since=(11,))
def sequence_length(node: Node) -> Bound:
    """ONNX SequenceLength-11, as int64."""
    return node.bind(Apply(_length), 0)


def _length(sequence: list[Tensor]) -> Tensor:
    device = sequence[0].device if sequence else None
    return torch.tensor(len(sequence), dtype=torch.int64, device=device)


@operator("SequenceInsert", since=(11,))
def sequence_insert(node: Node) -> Bound:
    """ONNX SequenceInsert-11: before a position, at the end without one."""
    return bind_integers(node, _insert, (0, 1), {"position": 2})


def _insert(sequence: list[Tensor], tensor: Tensor, position: list[int] | None) -> list[Tensor]:
    result = list(sequence)
    result.insert(position[0] if position else len(result), tensor)
    return result


@operator("SequenceErase", since=(11,))
def sequence_erase(node: Node) -> Bound:
    """ONNX SequenceErase-11: without the tensor at a position, by default the last."""
    return bind_integers(node, _erase, (0,), {"position": 1})


def _erase(sequence: list[Tensor], position: list[int] | None) -> list[Tensor]:
    place = position[0] if position else -1
    place = place % len(sequence)
    return sequence[:place] + sequence[place + 1 :]


@operator("ConcatFromSequence", since=(11,))
def concat_from_sequence(node: Node) -> Bound:
    """ONNX ConcatFromSequence-11: along an axis that is there, or with `new_axis=1` along a new one."""
    axis = node.attribute("axis")
    if axis is None:
        raise DeclinedError("ConcatFromSequence without an axis")
    return node.bind(Apply(_concat, axis=axis, new=bool(node.attribute("new_axis", 0))), 0)


def _concat(sequence: list[Tensor], axis: int, new: bool) -> Tensor:
    return torch.stack(sequence, dim=axis) if new else torch.cat(sequence, dim=axis)
