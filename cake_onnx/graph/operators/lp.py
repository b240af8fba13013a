"""LpPool, GlobalLpPool and LpNormalization: p-norms over windows, planes and axes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.windows import Window, pad_to_whole_windows, pooling_window, window_mean


@operator("LpPool", since=(1, 2, 11, 18, 22))
def lp_pool(node: Node) -> Bound:
    """ONNX LpPool-22: p-norm of each window, padded with zeros."""
    window = pooling_window(node)
    return node.bind(Apply(_lp_pool, window=window, p=_order(node)), 0)


def _order(node: Node) -> float:
    p = float(node.attribute("p", 2))
    if p < 1:
        raise DeclinedError(f"p={p:g}, which is no norm")
    return p


def _lp_pool(x: Tensor, window: Window, p: float) -> Tensor:
    powers = pad_to_whole_windows(x.abs().pow(p), window, 0.0)
    total = window_mean(powers, window) * math.prod(window.kernel)
    # A root has no slope at 0: there it is taken of 1 and thrown away.
    empty = total == 0
    return torch.where(empty, total, torch.where(empty, 1.0, total).pow(1 / p))


@operator("GlobalLpPool", since=(1, 2, 22))
def global_lp_pool(node: Node) -> Bound:
    """ONNX GlobalLpPool-22: p-norm over all spatial axes, which stay with size 1."""
    return node.bind(Apply(_global_lp_pool, p=_order(node)), 0)


def _global_lp_pool(x: Tensor, p: float) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, p, dim=tuple(range(2, x.dim())), keepdim=True)
    return length


@operator("LpNormalization", since=(1, 22))
def lp_normalization(node: Node) -> Bound:
    """ONNX LpNormalization-22: divided by the norm along an axis; zeros stay zeros."""
    p = node.attribute("p", 2)
    if p not in (1, 2):
        raise DeclinedError(f"p={p}")
    return node.bind(Apply(_lp_normalize, axis=node.attribute("axis", -1), p=p), 0)


def _lp_normalize(x: Tensor, axis: int, p: int) -> Tensor:
    length = torch.linalg.vector_norm(x, p, dim=axis, keepdim=True)
    return x / torch.where(length == 0, 1.0, length)
