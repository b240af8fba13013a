"""Weights of 2, 4 and 8 bits in blocks: com.microsoft MatMulNBits, MatMulBnb4 and GatherBlockQuantized.

Their weights are unpacked at conversion, so what is left is a plain product or look-up in float32.
"""

from __future__ import annotations

import math

import torch
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.graph.operators.quantisation import along
from cake_onnx.graph.operators.registry import MICROSOFT, Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.rounding import straight_through

_INT8_INPUTS = 4
"""Value of `accuracy_level` that lets the input be rounded to 8 bits."""
_SMALLEST_TWO_BIT_BLOCK = 32
"""onnxruntime has no kernel with rounded inputs for smaller blocks of 2-bit weights."""

_FP4 = (0.0, 1 / 192, 2 / 3, 1.0, 1 / 3, 0.5, 1 / 6, 0.25)
_NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
"""Quantiles of the normal distribution: Dettmers et al., "QLoRA" (2023), appendix E."""


def unpack(packed: Tensor, bits: int) -> Tensor:
    """Whole numbers `(…, n · 8 / bits)` in float32 out of bytes `(…, n)`, the lowest bits of a byte first."""
    if bits not in (2, 4, 8):
        raise DeclinedError(f"weights of {bits} bits")
    parts = [(packed.to(torch.int64) >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return torch.stack(parts, dim=-1).flatten(-2).to(torch.float32)


@operator("MatMulNBits", since=(1,), domain=MICROSOFT)
def matmul_n_bits(node: Node) -> Bound:
    """com.microsoft MatMulNBits-1: `A (…, K)` times weights `(N, K)` in blocks along K."""
    if node.attribute("weight_prepacked", 0):
        raise DeclinedError("weights packed for one kind of machine")
    if node.has(3) and node.has(4):
        # onnxruntime's kernel leaves the zero points out then, so there is nothing to compare with.
        raise DeclinedError("zero points together with a group index")
    bits, block = node.attribute("bits", 4), node.attribute("block_size")
    weight = _n_bit_weight(node, bits, block)
    bias = node.constant(5)
    if node.has(5) and bias is None:
        raise DeclinedError("a computed bias")
    linear = _linear(weight, bias)
    if not _rounds_input(node, bits, block):
        return node.bind(linear, 0)
    return node.bind(nn.Sequential(Apply(_round_blocks, block=block), linear), 0)


def _rounds_input(node: Node, bits: int, block: int) -> bool:
    """Whether onnxruntime rounds the input to 8 bits: asked for, and with weights it has that kernel for."""
    asked = node.attribute("accuracy_level", 0) == _INT8_INPUTS
    fractional = node.element_type(3) not in (TensorProto.UNDEFINED, TensorProto.UINT8)
    return asked and not fractional and not node.has(4) and (bits > 2 or block >= _SMALLEST_TWO_BIT_BLOCK)


def _n_bit_weight(node: Node, bits: int, block: int) -> Tensor:
    """Weights `(N, K)` in float32."""
    rows, columns = node.attribute("N"), node.attribute("K")
    blocks = math.ceil(columns / block)
    packed, scales, zeros = node.constant(1), node.constant(2), node.constant(3)
    groups = node.constant(4)
    if packed is None or scales is None or any(node.has(i) and node.constant(i) is None for i in (3, 4)):
        raise DeclinedError("computed weights")
    whole = unpack(packed.reshape(rows, -1), bits)[:, : blocks * block]
    if zeros is None:
        zeros = torch.full((rows, blocks), 2.0 ** (bits - 1))
    elif not zeros.is_floating_point():
        zeros = unpack(zeros.reshape(rows, -1), bits)[:, :blocks]
    index = torch.arange(columns) // block if groups is None else groups.to(torch.int64)
    scales, zeros = scales.to(torch.float32).reshape(rows, blocks), zeros.reshape(rows, blocks)
    return (whole[:, :columns] - zeros[:, index]) * scales[:, index]


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight)
    if bias is not None:
        linear.bias = nn.Parameter(bias.to(torch.float32))
    return linear


def _round_blocks(x: Tensor, block: int) -> Tensor:
    """Each block of `x (…, K)` rounded to 255 steps over its own range, as onnxruntime's kernel does."""
    size = x.shape[-1]
    blocks = functional.pad(x, (0, -size % block)).unflatten(-1, (-1, block))
    largest = blocks.detach().abs().amax(dim=-1, keepdim=True)
    scaled = blocks * torch.where(largest > 0, 127.0 / largest.clamp_min(1e-30), torch.zeros_like(largest))
    rounded = straight_through(scaled, torch.round(scaled)) * (largest / 127.0)
    flat: Tensor = rounded.flatten(-2)
    return flat[..., :size]


@operator("MatMulBnb4", since=(1,), domain=MICROSOFT)
def matmul_bnb4(node: Node) -> Bound:
    """com.microsoft MatMulBnb4-1: `A (…, K)` times weights `(N, K)`, entries of a table by block maxima."""
    node.ignore("training_mode")  # of the weights, which are fixed here
    if not node.attribute("transB", 1):
        raise DeclinedError("weights that are not transposed")
    packed, largest = node.constant(1), node.constant(2)
    if packed is None or largest is None:
        raise DeclinedError("computed weights")
    kind = node.attribute("quant_type")
    if kind not in (0, 1):
        raise DeclinedError(f"quant_type={kind}")
    table = torch.tensor(_NF4 if kind else [*_FP4, *(-value for value in _FP4)])
    rows, columns, block = node.attribute("N"), node.attribute("K"), node.attribute("block_size")
    # The first of two numbers is in the high bits of its byte.
    codes = unpack(packed.reshape(-1), 4).unflatten(0, (-1, 2)).flip(1).reshape(-1)[: rows * columns]
    scale = largest.to(torch.float32).repeat_interleave(block)[: rows * columns]
    weight = (table[codes.to(torch.int64)] * scale).reshape(rows, columns)
    return node.bind(_linear(weight, None), 0)


@operator("GatherBlockQuantized", since=(1,), domain=MICROSOFT)
def gather_block_quantized(node: Node) -> Bound:
    """com.microsoft GatherBlockQuantized-1: rows of a table stored in blocks along `quantize_axis`."""
    bits = node.attribute("bits", 4)
    axis, block = node.attribute("quantize_axis", 1), node.attribute("block_size", 128)
    table, scales, zeros = node.constant(0), node.constant(2), node.constant(3)
    if table is None or scales is None or (node.has(3) and zeros is None):
        raise DeclinedError("a computed table")
    middle = 0.0
    if node.element_type(0) == TensorProto.UINT8:
        table, middle = unpack(table, bits), 2.0 ** (bits - 1)
        zeros = None if zeros is None else unpack(zeros, bits)[..., : scales.shape[-1]]
    shift = middle if zeros is None else along(zeros.to(torch.float32), table, axis, block)
    values = (table.to(torch.float32) - shift) * along(scales.to(torch.float32), table, axis, block)
    return node.bind(Rows(values, node.attribute("gather_axis", 0)), 1)


class Rows(nn.Module):
    """Look slices of a stored table up.

    Args:
        table: The values.
        axis: Axis that the indices count along.
    """

    def __init__(self, table: Tensor, axis: int) -> None:
        super().__init__()
        self.table: Tensor
        self.register_buffer("table", table)
        self.axis = axis % table.dim()

    def forward(self, index: Tensor) -> Tensor:
        """Slices for whole numbers of any shape, which takes the place of the axis."""
        whole = index.to(torch.int64)
        whole = torch.where(whole < 0, whole + self.table.shape[self.axis], whole)
        found = self.table.index_select(self.axis, whole.reshape(-1))
        result: Tensor = found.unflatten(self.axis, whole.shape)
        return result
