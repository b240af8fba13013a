"""Networks for pictures, for teachers that take them flattened."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from cake_onnx.graph.specs import InputSpec
from cake_onnx.students.family import Family

Picture = tuple[int, int, int]
"""Channels, height and width."""


class SeesPictures:
    """A family that sees a flat input as the picture it was before somebody flattened it.

    Args:
        family: One that needs a picture.
        picture: `(channels, height, width)`, as many values as the input has.
    """

    def __init__(self, family: Family, picture: Picture) -> None:
        self.family, self.picture = family, picture

    @property
    def name(self) -> str:
        """That of the family."""
        return self.family.name

    def unfit(self, input: InputSpec) -> str | None:
        """A phrase for values of different ranges, which are no pixels, or what the family says."""
        ranges = set(zip(input.bounds.low, input.bounds.high, strict=True))
        if len(ranges) > 1:
            return f"{self.name} needs an image, and the values have {len(ranges)} different ranges"
        return self.family.unfit(self._seen(input))

    def build(self, input: InputSpec, classes: int, width: float) -> nn.Module:
        """A network `(B, *shape)` → `(B, K)`; see `Family.build`."""
        network = self.family.build(self._seen(input), classes, width)
        return nn.Sequential(nn.Flatten(), nn.Unflatten(1, self.picture), network)

    def _seen(self, input: InputSpec) -> InputSpec:
        bounds = replace(input.bounds, low=input.bounds.low[:1], high=input.bounds.high[:1])
        return replace(input, shape=self.picture, layout="NCHW", bounds=bounds)
