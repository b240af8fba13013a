"""Operators on the bits of integers: no gradient passes them, so they serve masks and indices only."""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx import TensorProto
from torch import Tensor

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator

_UNSIGNED_BITS: dict[int, int] = {
    TensorProto.UINT8: 8,
    TensorProto.UINT16: 16,
    TensorProto.UINT32: 32,
}

_PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "LEFT": torch.bitwise_left_shift,
    "RIGHT": torch.bitwise_right_shift,
}


@operator("BitwiseAnd", since=(18,))
@operator("BitwiseOr", since=(18,))
@operator("BitwiseXor", since=(18,))
def bitwise(node: Node) -> Bound:
    """ONNX BitwiseAnd-18, BitwiseOr-18, BitwiseXor-18."""
    return node.bind(Apply(_on_bits, function=_PAIRS[node.op_type], bits=_bits(node)), 0, 1)


@operator("BitwiseNot", since=(18,))
def bitwise_not(node: Node) -> Bound:
    """ONNX BitwiseNot-18."""
    return node.bind(Apply(_on_bits, function=torch.bitwise_not, bits=_bits(node)), 0)


@operator("BitShift", since=(11, 28))
def bit_shift(node: Node) -> Bound:
    """ONNX BitShift-11: bits shifted out are lost."""
    direction = node.attribute("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise DeclinedError(f"direction={direction}")
    return node.bind(Apply(_on_bits, function=_PAIRS[direction], bits=_bits(node)), 0, 1)


def _bits(node: Node) -> int | None:
    element_type = node.element_type(0)
    if element_type == TensorProto.UINT64:
        raise DeclinedError("bits of unsigned 64-bit integers, which torch does not have")
    return _UNSIGNED_BITS.get(element_type)


def _on_bits(*tensors: Tensor, function: Callable[..., Tensor], bits: int | None) -> Tensor:
    # All in 64 bits, as torch lacks most unsigned types; what an unsigned type cannot hold is cut off after.
    result = function(*(tensor.to(torch.int64) for tensor in tensors))
    if bits is not None:
        result = result & (2**bits - 1)
    first = tensors[0].dtype
    return result if first.is_floating_point else result.to(first)
