"""A prior for images when no image may be seen: pictures drawn by procedure.

White noise is far from every image a classifier knows; smooth fields, overlapping shapes and strokes are
nearer (Baradad et al., NeurIPS 2021, "Learning to See by Looking at Noise", for the first two), and in colour
things of many parts.
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
from cake_onnx.priors.fields import in_equal_parts
from cake_onnx.priors.scene import draw_scene

Kind = Callable[[int, int, tuple[int, int], torch.Generator], Tensor]
"""Draws `(n, channels, height, width)` in [0, 1] from n, channels and `(height, width)`."""
GREY_KINDS: tuple[Kind, ...] = (draw_texture, draw_leaves, draw_object, draw_strokes)
"""Of grey pictures."""
COLOUR_KINDS: tuple[Kind, ...] = (draw_scene,)
"""Of colour pictures."""
GROUNDS = ("dark", "middling", "light")
"""What most of a picture is, see `ImagePrior.grounds`."""
_DARK, _LIGHT = 0.1, 0.9
_MORE = 2
"""Pictures drawn for each that is missing, where some are turned down."""


class ImagePrior:
    """In grey textures, dead leaves, objects on plain ground and strokes; in colour scenes.

    Args:
        spec: The teacher's input. A `flat` input is drawn as an image of `image_shape` and flattened.
        image_shape: `(channels, height, width)`.
        kinds: What is drawn, in equal parts unless `worth` says otherwise; by default all there are for the
            number of channels.
        worth: `(kinds, grounds)`, not all 0: how often a picture of a kind on a ground is kept, over the
            others.
    """

    name = "image"

    def __init__(
        self,
        spec: InputSpec,
        image_shape: tuple[int, int, int],
        kinds: Sequence[Kind] | None = None,
        worth: Tensor | None = None,
    ) -> None:
        self.spec = spec
        self.shape = spec.shape
        self.kinds = kinds or (GREY_KINDS if image_shape[0] == 1 else COLOUR_KINDS)
        self.worth = worth
        self.layout = spec.layout
        self.image_shape = image_shape
        self.range = ValueRange.of(spec)

    def __repr__(self) -> str:
        return f"ImagePrior(image_shape={self.image_shape}, layout={self.layout!r})"

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `(n, *shape)` procedural images inside the bounds, kinds in random order."""
        if self.worth is None:
            images = self._draw_alike(n, generator)
        else:
            images = self._draw_by_worth(self.worth, n, generator)
        images = images[torch.randperm(len(images), generator=generator)[:n]]
        flipped = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
        images = torch.where(flipped, images.flip(-1), images)
        return self.range.clamp(self.range.from_unit(self._to_layout(images)))

    def of(self, kind: Kind) -> ImagePrior:
        """The same prior drawing one kind alone."""
        return ImagePrior(self.spec, self.image_shape, [kind])

    def valued(self, worth: Tensor) -> ImagePrior:
        """The same prior drawing each kind on each ground as often as `worth` `(kinds, grounds)` says."""
        return ImagePrior(self.spec, self.image_shape, self.kinds, worth)

    def grounds(self, x: Tensor) -> Tensor:
        """Where in `GROUNDS` each of `(B, *shape)` lies, `(B,)`: most of its values are as dark or light."""
        return _grounds(self.to_images(self.range.to_unit(x)))

    def _draw_alike(self, n: int, generator: torch.Generator) -> Tensor:
        return self._draw_kinds(in_equal_parts(n, len(self.kinds)), generator)

    def _draw_by_worth(self, worth: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """Draw at least `n`: kinds by their worth on their best ground, fewer of those on another."""
        best = worth.max(1).values
        kept, count = [], 0
        while count < n:
            drawn = torch.multinomial(best, _MORE * (n - count), replacement=True, generator=generator)
            images = self._draw_kinds(torch.bincount(drawn, minlength=len(best)).tolist(), generator)
            kinds = drawn.sort().values  # as `_draw_kinds` orders them
            odds = worth[kinds, _grounds(images)] / best[kinds]
            kept.append(images[torch.rand(len(images), generator=generator) < odds])
            count += len(kept[-1])
        return torch.cat(kept)

    def _draw_kinds(self, counts: Sequence[int], generator: torch.Generator) -> Tensor:
        channels, height, width = self.image_shape
        return torch.cat([
            kind(count, channels, (height, width), generator)
            for kind, count in zip(self.kinds, counts, strict=True) if count
        ])  # fmt: skip

    def project(self, x: Tensor) -> Tensor:
        """Clamp `(B, *shape)` to the bounds."""
        return self.range.clamp(x)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Move each of `(B, *shape)` by up to a tenth of its side, inside the bounds."""
        most = max(1, round(min(self.image_shape[1:]) / 10))
        return self.range.clamp(self._to_layout(shift(self.to_images(x), most, generator)))

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


def _grounds(images: Tensor) -> Tensor:
    middle = images.flatten(1).median(1).values
    return (middle >= _DARK).long() + (middle > _LIGHT).long()
