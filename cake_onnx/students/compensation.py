"""Let the channels that stay do the work of those that go, as far as it can be told from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn

from cake_onnx.graph.channels import Channels
from cake_onnx.graph.channels.narrow import Keeper
from cake_onnx.graph.taps import Taps
from cake_onnx.graph.tensors import copy_model

Moments = Mapping[str, npt.NDArray[np.float64]]
"""Second moments `(C, C)` of the channels of a tensor, summed over samples and positions, by its name."""

_RIDGE = 1e-3
"""Over the mean square of a channel; keeps weights small where channels say the same."""
_WIDEST = 2048
"""Most channels of a tensor: what they tell of each other costs their number to the third."""
_PART = 2**20
"""Numbers of the input that run through the graph at once: 256 small pictures, 6 large ones."""


def second_moments(graph: nn.Module, taps: Taps, axes: Mapping[str, int], x: Tensor) -> Moments:
    """What the channels of tensors inside a graph have in common.

    Args:
        graph: `(B, *shape)` to logits.
        taps: On it, at the tensors.
        axes: Axis of the channels by name of the tensor.
        x: `(B, *shape)` samples.
    """
    total: dict[str, Tensor] = {}
    for part in x.split(max(1, min(256, _PART // x[0].numel()))):
        with torch.no_grad(), taps.reading() as values:
            graph(part)
            for name, value in values.items():
                if value.shape[axes[name]] <= _WIDEST:
                    rows = value.movedim(axes[name], -1).flatten(0, -2).float()
                    total[name] = total.get(name, 0.0) + rows.T @ rows
    return {name: moment.double().cpu().numpy() for name, moment in total.items()}


def compensated(channels: Channels, dropped: Collection[int], moments: Moments) -> ModelProto:
    """The graph with weights that expect `dropped` to be gone.

    In the place of a channel that goes comes the sum of those that stay which is nearest to it, by least
    squares. A matrix or a convolution that reads these channels takes such a sum into its weights exactly
    (reconstruction of pruned layers: ThiNet, Luo et al. 2017; channel pruning, He et al. 2017).

    Args:
        channels: The graph and what hangs together in it.
        dropped: Simple items that are about to go.
        moments: Of tensors that layers read; layers whose tensor is not among them stay as they are.
    """
    keep = Keeper(channels, frozenset(dropped))
    result = copy_model(channels.model)
    stored = {tensor.name: tensor for tensor in result.graph.initializer}
    for node in channels.model.graph.node:
        if len(node.input) < 2 or node.input[0] not in moments or node.input[1] not in channels.contracted:
            continue
        read, weight = node.input[0], node.input[1]
        axis = channels.contracted[weight]
        label = channels.labels[weight][axis]
        along = [each for each in channels.labels[read] if each is not None]
        # A grouped convolution sums over a part of the channels only.
        if label is None or not np.array_equal(label, along[0]):
            continue
        stays = keep.mask(label)
        if stays.all() or not stays.any():
            continue
        values = np.moveaxis(numpy_helper.to_array(stored[weight]).copy(), axis, 0)
        values[stays] += np.tensordot(_shares(moments[read], stays), values[~stays], axes=1)
        values = np.ascontiguousarray(np.moveaxis(values, 0, axis))
        stored[weight].CopyFrom(numpy_helper.from_array(values, weight))
    return result


def _shares(moments: npt.NDArray[np.float64], stays: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """`(kept, dropped)`: how much of each that stays is in the sum that is nearest to each that goes."""
    among, across = moments[np.ix_(stays, stays)], moments[np.ix_(stays, ~stays)]
    ridge = _RIDGE * float(np.trace(moments)) / len(moments) + np.finfo(np.float32).tiny
    shares = np.linalg.solve(among + ridge * np.eye(len(among)), across)
    return np.asarray(shares, dtype=np.float32)
