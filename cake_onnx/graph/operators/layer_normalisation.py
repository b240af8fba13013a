"""Normalisation of one sample by itself: LayerNormalization, RMSNormalization, GroupNormalization."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.registry import MICROSOFT, Apply, Bound, Node, operator


@operator("LayerNormalization", since=(1, 17))
def layer_normalization(node: Node) -> Bound:
    """ONNX LayerNormalization-17: over all axes from `axis` on.

    Version 1 is what onnxruntime's optimiser writes into files of older opsets; it means the same.
    """
    node.ignore("stash_type")  # everything is float32 here
    options = {"axis": node.attribute("axis", -1), "epsilon": float(node.attribute("epsilon", 1e-5))}
    if node.outputs > 1:
        return node.bind(Apply(_layer_norm_and_statistics, **options), 0, 1, 2)
    return node.bind(Apply(_layer_norm, **options), 0, 1, 2)


def _layer_norm(x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int, epsilon: float) -> Tensor:
    shape = x.shape[axis % x.dim() :]
    if scale.shape == shape and (bias is None or bias.shape == shape):
        return functional.layer_norm(x, shape, scale, bias, epsilon)
    normal = functional.layer_norm(x, shape, eps=epsilon) * scale
    return normal if bias is None else normal + bias


def _layer_norm_and_statistics(
    x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    dims = tuple(range(axis % x.dim(), x.dim()))
    variance, mean = torch.var_mean(x, dim=dims, correction=0, keepdim=True)
    normal = _layer_norm(x, scale, bias, axis=axis, epsilon=epsilon)
    return normal, mean, torch.rsqrt(variance + epsilon)


@operator("RMSNormalization", since=(23,))
@operator("SimplifiedLayerNormalization", since=(1,))
def rms_normalization(node: Node) -> Bound:
    """ONNX RMSNormalization-23, and onnxruntime's own name for it: divided by the root of the mean square."""
    node.ignore("stash_type")  # everything is float32 here
    options = {"axis": node.attribute("axis", -1), "epsilon": float(node.attribute("epsilon", 1e-5))}
    function = _rms_norm if node.outputs == 1 else _rms_norm_and_statistics
    return node.bind(Apply(function, **options), 0, 1)


def _rms_norm(x: Tensor, scale: Tensor, axis: int, epsilon: float) -> Tensor:
    shape = x.shape[axis % x.dim() :]
    if scale.shape == shape:
        return functional.rms_norm(x, shape, scale, epsilon)
    return functional.rms_norm(x, shape, eps=epsilon) * scale


def _rms_norm_and_statistics(x: Tensor, scale: Tensor, axis: int, epsilon: float) -> tuple[Tensor, Tensor]:
    dims = tuple(range(axis % x.dim(), x.dim()))
    inverse = torch.rsqrt(x.square().mean(dim=dims, keepdim=True) + epsilon)
    return _rms_norm(x, scale, axis, epsilon), inverse


@operator("SkipLayerNormalization", since=(1,), domain=MICROSOFT)
def skip_layer_normalization(node: Node) -> Bound:
    """com.microsoft SkipLayerNormalization-1: a sum of two branches, normalised over the last axis."""
    options = {"epsilon": float(node.attribute("epsilon", 1e-12)), "all_outputs": node.outputs > 1}
    return bind_operands(node, _skip_layer_norm, **options)


def _skip_layer_norm(
    x: Tensor,
    skip: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    epsilon: float,
    all_outputs: bool,
) -> Tensor | tuple[Tensor, ...]:
    total = x + skip if bias is None else x + skip + bias
    if not all_outputs:
        return _layer_norm(total, scale, shift, axis=-1, epsilon=epsilon)
    return *_layer_norm_and_statistics(total, scale, shift, axis=-1, epsilon=epsilon), total


@operator("SkipSimplifiedLayerNormalization", since=(1,), domain=MICROSOFT)
def skip_rms_normalization(node: Node) -> Bound:
    """com.microsoft SkipSimplifiedLayerNormalization-1: a sum of two branches, without its mean square."""
    options = {"epsilon": float(node.attribute("epsilon", 1e-12)), "all_outputs": node.outputs > 1}
    return bind_operands(node, _skip_rms_norm, **options)


def _skip_rms_norm(
    x: Tensor,
    skip: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    epsilon: float,
    all_outputs: bool,
) -> Tensor | tuple[Tensor, ...]:
    total = x + skip if bias is None else x + skip + bias
    if not all_outputs:
        return _rms_norm(total, scale, -1, epsilon)
    normal, inverse = _rms_norm_and_statistics(total, scale, -1, epsilon)
    # A mean is not subtracted, and none is given out: onnxruntime leaves that output empty as well.
    return normal, torch.zeros_like(inverse), inverse, total


@operator("GroupNormalization", since=(18, 21))
def group_normalization(node: Node) -> Bound:
    """ONNX GroupNormalization-21: scale and shift per channel; per group before version 21."""
    node.ignore("stash_type")  # everything is float32 here
    groups, epsilon = node.attribute("num_groups"), float(node.attribute("epsilon", 1e-5))
    by_group = node.version < 21
    return node.bind(Apply(_group_norm, groups=groups, epsilon=epsilon, by_group=by_group), 0, 1, 2)


def _group_norm(
    x: Tensor, scale: Tensor, bias: Tensor, groups: int, epsilon: float, by_group: bool
) -> Tensor:
    if by_group:
        each = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
    # Not functional.group_norm, which refuses groups of one element.
    return torch.group_norm(x, groups, scale, bias, epsilon)
