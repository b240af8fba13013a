"""Where channels are summed over: convolutions and matrix products."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from cake_onnx.graph.channels.follow import Labels, LostError, Walk, rule
from cake_onnx.graph.channels.items import Label
from cake_onnx.graph.wiring import attribute, groups_of


@rule("Conv")
def conv(walk: Walk, node: NodeProto) -> None:
    """ONNX Conv-22: weight `(O, I/groups, *kernel)`; groups keep equal sizes by losing the same positions."""
    x, weight = node.input[0], node.input[1]
    out, inner = walk.shape(weight)[:2]
    if walk.constant(weight) is None:
        raise LostError("a computed weight")
    groups = groups_of(node)
    channels = walk.label(x)[1]
    made: Label | None
    if groups == 1:
        made = walk.fresh(out)
        reads = channels
        walk.contracted[weight] = 1
    elif inner == 1 and out == groups:
        made, reads = channels, None
    else:
        made, reads = _grouped(walk, channels, out, groups)
        walk.contracted[weight] = 1
    spatial: Labels = [None] * (len(walk.shape(weight)) - 2)
    walk.set(weight, [made, reads if inner > 1 else None, *spatial])
    if len(node.input) > 2 and node.input[2]:
        walk.set(node.input[2], [made])
    walk.set(node.output[0], [None, made, *spatial])


def _grouped(walk: Walk, channels: Label | None, out: int, groups: int) -> tuple[Label | None, Label | None]:
    """Labels of the outputs and of the inputs within one group."""
    made = walk.fresh(out // groups)
    outputs = None if made is None else np.tile(made, groups)
    if channels is None:
        return outputs, None
    by_group = channels.reshape(groups, -1)
    for other in by_group[1:]:
        walk.items.unite_all(by_group[0], other)
    return outputs, by_group[0]


@rule("ConvTranspose")
def conv_transpose(walk: Walk, node: NodeProto) -> None:
    """ONNX ConvTranspose-22: weight `(I, O/groups, *kernel)`, one group only."""
    x, weight = node.input[0], node.input[1]
    if groups_of(node) != 1 or walk.constant(weight) is None:
        raise LostError("groups, or a computed weight")
    spatial: Labels = [None] * (len(walk.shape(weight)) - 2)
    made = walk.fresh(walk.shape(weight)[1])
    walk.contracted[weight] = 0
    walk.set(weight, [walk.label(x)[1], made, *spatial])
    if len(node.input) > 2 and node.input[2]:
        walk.set(node.input[2], [made])
    walk.set(node.output[0], [None, made, *spatial])


@rule("Gemm")
def gemm(walk: Walk, node: NodeProto) -> None:
    """ONNX Gemm-13: `(B, I) · (I, O) + (O,)`."""
    x, weight = node.input[0], node.input[1]
    if attribute(node, "transA", 0) or walk.constant(weight) is None:
        raise LostError("a transposed input, or a computed weight")
    turned = bool(attribute(node, "transB", 0))
    made = walk.fresh(walk.shape(weight)[0 if turned else 1])
    reads = walk.label(x)[1]
    walk.contracted[weight] = 1 if turned else 0
    walk.set(weight, [made, reads] if turned else [reads, made])
    if len(node.input) > 2 and node.input[2]:
        bias = walk.shape(node.input[2])
        walk.set(
            node.input[2],
            [made if size > 1 and axis == len(bias) - 1 else None for axis, size in enumerate(bias)],
        )
    walk.set(node.output[0], [None, made])


@rule("MatMul")
def matmul(walk: Walk, node: NodeProto) -> None:
    """ONNX MatMul-13: with a stored matrix on either side, or of two computed tensors (attention)."""
    left, right = node.input[0], node.input[1]
    a, b = list(walk.shape(left)), list(walk.shape(right))
    if len(a) < 2 or len(b) < 2:
        raise LostError("a product with a vector")
    first, second = walk.label(left), walk.label(right)
    if walk.constant(right) is not None:
        made = walk.fresh(b[-1])
        walk.contracted[right] = len(b) - 2
        walk.set(right, [None] * (len(b) - 2) + [first[-1], made])
        second = walk.label(right)
    elif walk.constant(left) is not None:
        made = walk.fresh(a[-2])
        walk.contracted[left] = len(a) - 1
        walk.set(left, [None] * (len(a) - 2) + [made, second[-2]])
        first = walk.label(left)
    else:
        walk.unite(first[-1], second[-2], f"MatMul '{node.name}' sums over it on one side only")
    outer = broadcast(walk, [(first[:-2], a[:-2]), (second[:-2], b[:-2])], node)
    walk.set(node.output[0], [*outer, first[-2], second[-1]])


@rule("Einsum")
def einsum(walk: Walk, node: NodeProto) -> None:
    """ONNX Einsum-12: axes of one letter run together; a stored operand makes new channels."""
    equation = str(attribute(node, "equation", "")).replace(" ", "")
    if "." in equation or "->" not in equation:
        raise LostError(f"the equation {equation}")
    terms, result = equation.split("->")
    found: dict[str, Label | None] = {}
    for name, letters in zip(node.input, terms.split(","), strict=True):
        if walk.constant(name) is not None:
            raise LostError("a stored operand")
        for letter, label in zip(letters, walk.label(name), strict=True):
            if letter in found:
                label = walk.unite(found[letter], label, f"Einsum '{node.name}'")
            found[letter] = label
    walk.set(node.output[0], [found[letter] for letter in result])


def broadcast(walk: Walk, operands: list[tuple[Labels, list[int]]], node: NodeProto) -> Labels:
    """Labels of a broadcast result; each operand is its labels and its sizes, aligned at the right."""
    rank = max(len(sizes) for _, sizes in operands)
    result: Labels = []
    for axis in range(-rank, 0):
        here = [(labels[axis], sizes[axis]) for labels, sizes in operands if len(sizes) >= -axis]
        size = max(size for _, size in here)
        full = [label for label, own in here if own == size]
        merged = full[0]
        for label in full[1:]:
            merged = walk.unite(merged, label, f"{node.op_type} '{node.name}' with something that stays")
        result.append(merged)
    return result
