"""BatchNormalization, LayerNormalization, GroupNormalization."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator


@operator("BatchNormalization", since=(6, 7, 9, 14, 15))
def batch_normalization(node: Node) -> Bound:
    """ONNX BatchNormalization-15 at inference. Stored statistics stay readable in the module."""
    if node.attribute("training_mode", 0) or node.outputs > 1 or not node.attribute("spatial", 1):
        raise DeclinedError("training mode or per-element statistics")
    node.ignore("momentum", "is_test", "consumed_inputs")  # of training
    epsilon = float(node.attribute("epsilon", 1e-5))
    stored = [node.constant(index) for index in (1, 2, 3, 4)]
    if any(value is None for value in stored):
        return node.bind(Apply(_batch_norm, epsilon=epsilon), 0, 1, 2, 3, 4)
    scale, bias, mean, variance = (value for value in stored if value is not None)
    return node.bind(FrozenBatchNorm(scale, bias, mean, variance, epsilon), 0)


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with fixed statistics, for any rank `(B, C, *sizes)`.

    Args:
        weight: Scale `(C,)`.
        bias: Shift `(C,)`.
        running_mean: Mean `(C,)` seen in training.
        running_var: Variance `(C,)` seen in training.
        eps: Added to the variance.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor, eps: float
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", running_mean)
        self.register_buffer("running_var", running_var)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x (B, C, *sizes)` channel by channel."""
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


def _batch_norm(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, epsilon: float
) -> Tensor:
    # Written out because functional.batch_norm gives no gradient to a computed mean and variance.
    shape = [-1] + [1] * (x.dim() - 2)
    factor = scale * torch.rsqrt(variance + epsilon)
    return (x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)


@operator("LayerNormalization", since=(17,))
def layer_normalization(node: Node) -> Bound:
    """ONNX LayerNormalization-17: over all axes from `axis` on; its statistics are not given out."""
    if node.outputs > 1:
        raise DeclinedError("the statistics of its further outputs")
    node.ignore("stash_type")  # everything is float32 here
    axis, epsilon = node.attribute("axis", -1), float(node.attribute("epsilon", 1e-5))
    return node.bind(Apply(_layer_norm, axis=axis, epsilon=epsilon), 0, 1, 2)


def _layer_norm(x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int, epsilon: float) -> Tensor:
    shape = x.shape[axis % x.dim() :]
    if scale.shape == shape and (bias is None or bias.shape == shape):
        return functional.layer_norm(x, shape, scale, bias, epsilon)
    normal = functional.layer_norm(x, shape, eps=epsilon) * scale
    return normal if bias is None else normal + bias


@operator("GroupNormalization", since=(21,))
def group_normalization(node: Node) -> Bound:
    """ONNX GroupNormalization-21: scale and shift per channel."""
    groups, epsilon = node.attribute("num_groups"), float(node.attribute("epsilon", 1e-5))
    return node.bind(Apply(_group_norm, groups=groups, epsilon=epsilon), 0, 1, 2)


def _group_norm(x: Tensor, scale: Tensor, bias: Tensor, groups: int, epsilon: float) -> Tensor:
    return functional.group_norm(x, groups, scale, bias, epsilon)
