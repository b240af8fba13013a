"""What dense layers look at in a picture: how a pixel differs from those around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from cake_onnx.students.pictures import Picture

_SMALLEST = 8
"""Pixels along the longer side from which a picture has surroundings."""
_REACH = 1 / 7
"""Standard deviation of the surroundings, over the side of the picture."""
_OWN = 1.1
"""Weight of the pixel itself, where the surroundings have 1: a tenth of evenly bright areas is left."""


def see_contrast(layer: nn.Linear, picture: Picture, channels_last: bool = False) -> None:
    """Let a layer that reads a flattened picture learn from contrast instead of brightness, in place.

    Its weights become `W = V (1.1 I - G)`, where G averages the surroundings of a pixel and V is learnt, as
    if the picture had gone through a filter first. Any W can still be learnt. An optimiser that moves each
    of V alike spends its steps on edges, where those on W go mostly to what neighbours have in common.
    Exporting stores W. Pictures of fewer than 8 pixels a side are left as they are.

    Args:
        layer: Of as many inputs as a sample has values.
        picture: What the values are, `(channels, height, width)`.
        channels_last: Whether the values of a pixel lie together, instead of those of a channel.
    """
    if max(picture[1:]) >= _SMALLEST:
        parametrize.register_parametrization(layer, "weight", Contrast(picture, channels_last))


class Contrast(nn.Module):
    """`V` to `V (1.1 I - G)`, see `see_contrast`.

    Args:
        picture: `(channels, height, width)`.
        channels_last: Whether the values of a pixel lie together.
    """

    rows: Tensor  # (H, H)
    columns: Tensor  # (W, W)

    def __init__(self, picture: Picture, channels_last: bool) -> None:
        super().__init__()
        channels, height, width = picture
        self.shape = (height, width, channels) if channels_last else picture
        self.channels_last = channels_last
        self.register_buffer("rows", _surroundings(height), persistent=False)
        self.register_buffer("columns", _surroundings(width), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """`(neurons, values)` → the same shape."""
        pictures = weight.view(-1, *self.shape)
        if self.channels_last:
            pictures = pictures.movedim(-1, 1)
        seen = _OWN * pictures - self.rows @ pictures @ self.columns
        if self.channels_last:
            seen = seen.movedim(1, -1)
        return seen.reshape(weight.shape)


def _surroundings(size: int) -> Tensor:
    """A Gaussian around each of `size` places, `(size, size)`; less than 1 in all where it meets an edge."""
    place = torch.arange(size, dtype=torch.float32)
    near = torch.exp(-(place[:, None] - place).square() / (2 * (_REACH * size) ** 2))
    return near / near.sum(1).max()
