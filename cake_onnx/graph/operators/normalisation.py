"""BatchNormalization, InstanceNormalization, MeanVarianceNormalization, LRN."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator

_MOMENTUM = 0.05
"""How far stored statistics go towards those of a batch, while they learn."""


@operator("BatchNormalization", since=(1, 6, 7, 9, 14, 15))
def batch_normalization(node: Node) -> Bound:
    """ONNX BatchNormalization-15. Stored statistics stay readable in the module.

    In training mode the batch's own statistics are used; whoever converts a whole model finds out that its
    samples then depend on each other.
    """
    if node.outputs > 1:
        raise DeclinedError("the statistics of its further outputs")
    node.ignore("momentum", "is_test", "consumed_inputs")  # of training
    epsilon = float(node.attribute("epsilon", 1e-5))
    if node.attribute("training_mode", 0):
        return node.bind(Apply(_batch_norm_of_batch, epsilon=epsilon), 0, 1, 2)
    stored = [node.constant(index) for index in (1, 2, 3, 4)]
    by_channel = bool(node.attribute("spatial", 1))
    if not by_channel or any(value is None for value in stored):
        return node.bind(Apply(_batch_norm, epsilon=epsilon, by_channel=by_channel), 0, 1, 2, 3, 4)
    scale, bias, mean, variance = (value for value in stored if value is not None)
    return node.bind(BatchNorm(scale, bias, mean, variance, epsilon), 0)


class BatchNorm(nn.Module):
    """Batch normalisation with stored statistics, for any rank `(B, C, *sizes)`.

    Args:
        weight: Scale `(C,)`.
        bias: Shift `(C,)`.
        running_mean: Mean `(C,)` seen in training.
        running_var: Variance `(C,)` seen in training.
        eps: Added to the variance.

    Attributes:
        learning: Whether it takes the statistics of the batch, and moves the stored ones towards them.
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
        self.learning = False

    def start_with(self, mean: Tensor, variance: Tensor) -> None:
        """Take other statistics `(C,)`, and the scale and shift with which they change nothing."""
        with torch.no_grad():
            factor = self.weight / (self.running_var + self.eps).sqrt()
            self.weight.copy_(factor * (variance + self.eps).sqrt())
            self.bias.add_((mean - self.running_mean) * factor)
            self.running_mean.copy_(mean)
            self.running_var.copy_(variance)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x (B, C, *sizes)` channel by channel."""
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.learning, _MOMENTUM, self.eps
        )


def _batch_norm(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: float,
    by_channel: bool,
) -> Tensor:
    # Written out because functional.batch_norm gives no gradient to a computed mean and variance.
    shape = [-1] + [1] * (x.dim() - 2) if by_channel else list(x.shape[1:])
    factor = scale * torch.rsqrt(variance + epsilon)
    return (x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)


def _batch_norm_of_batch(x: Tensor, scale: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    dims = [axis for axis in range(x.dim()) if axis != 1]
    variance, mean = torch.var_mean(x, dim=dims, correction=0)
    return _batch_norm(x, scale, bias, mean, variance, epsilon, by_channel=True)


@operator("InstanceNormalization", since=(1, 6, 22))
def instance_normalization(node: Node) -> Bound:
    """ONNX InstanceNormalization-22: every plane by its own mean and variance."""
    node.ignore("consumed_inputs")  # of training
    return node.bind(Apply(_instance_norm, epsilon=float(node.attribute("epsilon", 1e-5))), 0, 1, 2)


def _instance_norm(x: Tensor, scale: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    # Not functional.instance_norm, which refuses planes of one element.
    return torch.group_norm(x, x.shape[1], scale, bias, epsilon)


@operator("MeanVarianceNormalization", since=(1,))
def mean_variance_normalization_by_channel(node: Node) -> Bound:
    """MeanVarianceNormalization-1, which onnxruntime has: over all axes of an image but channels, or all."""
    axes = [0, 1, 2, 3] if node.attribute("across_channels", 0) else [0, 2, 3]
    with_variance = bool(node.attribute("normalize_variance", 1))
    return node.bind(Apply(_normalise_axes, axes=axes, with_variance=with_variance), 0)


@operator("MeanVarianceNormalization", since=(9, 13))
def mean_variance_normalization(node: Node) -> Bound:
    """ONNX MeanVarianceNormalization-13: mean 0 and variance 1 over the axes."""
    axes = node.attribute("axes") or [0, 2, 3]
    return node.bind(Apply(_normalise_axes, axes=axes, with_variance=True), 0)


def _normalise_axes(x: Tensor, axes: list[int], with_variance: bool) -> Tensor:
    centred = x - x.mean(dim=axes, keepdim=True)
    if not with_variance:
        return centred
    # A norm has slope 0 at 0, where the root of a variance has none.
    count = math.prod(x.shape[axis] for axis in axes)
    deviation: Tensor = torch.linalg.vector_norm(centred, dim=axes, keepdim=True) / count**0.5
    return centred / (deviation + 1e-9)


@operator("LRN", since=(1, 13))
def local_response_normalization(node: Node) -> Bound:
    """ONNX LRN-13: divided by a power of the mean square of neighbouring channels."""
    options = {
        "size": node.attribute("size"),
        "alpha": float(node.attribute("alpha", 1e-4)),
        "beta": float(node.attribute("beta", 0.75)),
        "offset": float(node.attribute("bias", 1.0)),
    }
    return node.bind(Apply(_local_response_norm, **options), 0)


def _local_response_norm(x: Tensor, size: int, alpha: float, beta: float, offset: float) -> Tensor:
    # Of an even number of channels the middle one is left of the centre: torch's own has it on the right.
    channels = x.square().reshape(x.shape[0], 1, x.shape[1], -1)
    padded = functional.pad(channels, (0, 0, (size - 1) // 2, size // 2))
    mean = functional.avg_pool2d(padded, (size, 1), stride=1).reshape(x.shape)
    divisor: Tensor = (offset + alpha * mean).pow(beta)
    return x / divisor
