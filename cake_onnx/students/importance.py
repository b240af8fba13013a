"""What every channel of a graph is worth to its logits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cake_onnx.graph.channels import Channels
from cake_onnx.graph.trainable import TrainableGraph

_PROJECTIONS = 8
"""Random weightings of the logits that importance is averaged over."""


def weigh_channels(
    graph: TrainableGraph, channels: Channels, x: Tensor, generator: torch.Generator
) -> dict[int, float]:
    """First-order effect of every item on the logits: E ‖∂z/∂gate‖², the gate multiplying the channel.

    Where a weight sums over a channel, its slice times its gradient is the derivative of such a gate
    (Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, section 3). Random
    signs in front of the logits make the square of a sum over samples an estimate of the sum of squares.

    Args:
        graph: What is weighed; its weights are those of `channels.model`.
        channels: What hangs together in it.
        x: `(B, *shape)` samples.
        generator: Of the random signs.
    """
    weights = graph.weights()
    total: dict[int, float] = {}
    logits = graph(x)
    for left in reversed(range(_PROJECTIONS)):
        signs = (torch.randint(0, 2, logits.shape, generator=generator) * 2 - 1).to(logits)
        total_logit = (signs * logits).sum()
        slopes = torch.autograd.grad(
            total_logit, list(weights.values()), retain_graph=left > 0, materialize_grads=True
        )
        named = zip(weights.items(), slopes, strict=True)
        products = {name: weight * slope for (name, weight), slope in named}
        for item, slope in _gates(channels, graph.to_initializers(products)).items():
            total[item] = total.get(item, 0.0) + slope * slope
    return total


def _gates(channels: Channels, products: Mapping[str, npt.NDArray[np.float32]]) -> dict[int, float]:
    """Derivative with respect to the gate of every item: by what sums over it, else by what makes it."""
    reading: dict[int, float] = {}
    making: dict[int, float] = {}
    for name, product in products.items():
        for axis, label in enumerate(channels.labels.get(name, ())):
            if label is None:
                continue
            slopes = product.sum(axis=tuple(other for other in range(product.ndim) if other != axis))
            into = reading if channels.contracted.get(name) == axis else making
            for item, slope in zip(label.tolist(), slopes.tolist(), strict=True):
                for root in channels.items.roots(item):
                    into[root] = into.get(root, 0.0) + slope
    return making | reading
