"""A prior for images when no image may be seen: pictures drawn by procedure.

White noise is far from every image a classifier knows; smooth fields, overlapping shapes and strokes are
nearer (Baradad et al., NeurIPS 2021, "Learning to See by Looking at Noise", for the first two).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cake_onnx.graph.specs import InputSpec
from cake_onnx.losses import total_variation
from cake_onnx.priors.base import ValueRange
from cake_onnx.priors.drawing import draw_leaves, draw_object, draw_strokes, draw_texture

Kind = Callable[[int, int, tuple[int, int], torch.Generator], Tensor]
"""Draws `(n, channels, height, width)` in [0, 1] from n, channels and `(height, width)`."""
KINDS: tuple[Kind, ...] = (draw_texture, draw_leaves, draw_object, draw_strokes)


class ImagePrior:
    """Textures, dead leaves, objects on plain ground and strokes, in equal parts, in grey or in colour.

    Args:
        spec: The teacher's input. A `flat` input is drawn as an image of `image_shape` and flattened.
        image_shape: `(channels, height, width)`.
        kinds: What is drawn.
    """

    name = "image"

    def __init__(
        self, spec: InputSpec, image_shape: tuple[int, int, int], kinds: Sequence[Kind] = KINDS
    ) -> None:
        self.shape = spec.shape
        self.kinds = kinds
        self.layout = spec.layout
        self.image_shape = image_shape
        self.range = ValueRange.of(spec)

    def __repr__(self) -> str:
        return f"ImagePrior(image_shape={self.image_shape}, layout={self.layout!r})"

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `(n, *shape)` procedural images inside the bounds, kinds in random order."""
        channels, height, width = self.image_shape
        size = (height, width)
        share, more = divmod(n, len(self.kinds))
        images = torch.cat([
            kind(share + (index < more), channels, size, generator) for index, kind in enumerate(self.kinds)
        ])  # fmt: skip
        images = images[torch.randperm(n, generator=generator)]
        flipped = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
        images = torch.where(flipped, images.flip(-1), images)
        return self.range.clamp(self.range.from_unit(self._to_layout(images)))

    def project(self, x: Tensor) -> Tensor:
        """Clamp `(B, *shape)` to the bounds."""
        return self.range.clamp(x)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Move each of `(B, *shape)` by up to a tenth of its side."""
        most = max(1, round(min(self.image_shape[1:]) / 10))
        return self._to_layout(shift(self.to_images(x), most, generator))

    def penalty(self, x: Tensor) -> Tensor:
        """Total variation of `(B, *shape)` in units of the bounds, `(B,)` (CAKE, the prior term L_TV)."""
        return total_variation(self.to_images(self.range.to_unit(x)))

    def to_images(self, x: Tensor) -> Tensor:
        """View `(B, *shape)` as `(B, channels, height, width)`."""
        if self.layout == "NHWC":
            return x.movedim(-1, 1)
        return x.reshape(x.shape[0], *self.image_shape)

    def _to_layout(self, images: Tensor) -> Tensor:
        if self.layout == "NHWC":
            return images.movedim(1, -1)
        return images.reshape(images.shape[0], *self.shape)


def shift(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Move each of `(B, C, H, W)` by its own offset of at most `most` pixels; the edge is repeated."""
    padded = F.pad(images, (most, most, most, most), mode="replicate")
    count, _, height, width = images.shape
    place = images.device
    top, left = torch.randint(2 * most + 1, (2, count), generator=generator).to(place)
    rows = top[:, None] + torch.arange(height, device=place)
    columns = left[:, None] + torch.arange(width, device=place)
    sample = torch.arange(count, device=place)[:, None, None]
    picked = padded.movedim(1, -1)[sample, rows[:, :, None], columns[:, None, :]]
    return picked.movedim(-1, 1)
