"""The first layers of every student: from the teacher's units and layout to what networks like."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cake_onnx.graph.specs import InputSpec


class Scale(nn.Module):
    """Brings values from their bounds into [-1, 1]: `(x - centre) / half the range`.

    The teacher's own scaling (mean and deviation, 0..255, 0..16) is not known to a student; the bounds are.
    The two buffers are fixed, are written into the exported model and are not trained.

    Args:
        input: What the teacher takes. `input.bounds` has one pair of numbers for all values, one a channel
            (images) or one a feature or channel (`flat`).

    Raises:
        ValueError: `input.bounds` has another length.
    """

    centre: Tensor  # broadcasts against (B, *shape)
    reach: Tensor  # same shape as centre

    def __init__(self, input: InputSpec) -> None:
        super().__init__()
        low = torch.tensor(input.bounds.low, dtype=torch.float64)
        high = torch.tensor(input.bounds.high, dtype=torch.float64)
        self.register_buffer("centre", ((low + high) / 2).to(torch.float32).reshape(input.bounds_shape))
        self.register_buffer("reach", ((high - low) / 2).to(torch.float32).reshape(input.bounds_shape))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, *shape)` in the teacher's units → same shape, in [-1, 1]."""
        return (x - self.centre) / self.reach


class ChannelsFirst(nn.Module):
    """`(B, H, W, C)` → `(B, C, H, W)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Move the channels to where convolutions expect them."""
        return x.permute(0, 3, 1, 2)


def image_entrance(input: InputSpec) -> nn.Sequential:
    """Layers `(B, *shape)` → `(B, C, H, W)` in [-1, 1], for `NCHW` and `NHWC` inputs."""
    layers: list[nn.Module] = [Scale(input)]
    if input.layout == "NHWC":
        layers.append(ChannelsFirst())
    return nn.Sequential(*layers)


def flat_entrance(input: InputSpec) -> nn.Sequential:
    """Layers `(B, *shape)` → `(B, number of features)` in [-1, 1], for any layout."""
    return nn.Sequential(Scale(input), nn.Flatten())
