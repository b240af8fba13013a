"""A prior for series: what is measured again and again, in one channel or many."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cake_onnx.graph.specs import InputSpec
from cake_onnx.losses import total_variation
from cake_onnx.priors.base import ValueRange
from cake_onnx.priors.fields import in_equal_parts, standardised, uniform
from cake_onnx.priors.signals import draw_drift, draw_events, draw_walk, draw_waves

Kind = Callable[[int, int, int, torch.Generator], Tensor]
"""Draws `(n, channels, length)`, each of mean 0 and spread 1, from n, channels and length."""
KINDS: tuple[Kind, ...] = (draw_drift, draw_waves, draw_events, draw_walk)
_SPREAD = 1 / 6
"""Of a signal, over the range of the input: the bounds of standardised features are three deviations away."""
_GRAIN = 0.3
"""Most noise that is laid over a signal, over its spread."""


class SeriesPrior:
    """Smooth, periodic and eventful signals and random walks, in equal parts, some with noise on them.

    Channels are of one kind, and anything from a multiple of one signal to signals of their own; so are
    their spreads and levels.

    Args:
        spec: The teacher's input, `flat`, of one axis or two.
        axis: Which axis of a sample is time.
    """

    name = "series"

    def __init__(self, spec: InputSpec, axis: int) -> None:
        self.shape, self.axis = spec.shape, axis
        self.length = spec.shape[axis]
        self.channels = math.prod(spec.shape) // self.length
        self.range = ValueRange.of(spec)

    def __repr__(self) -> str:
        return f"SeriesPrior(shape={self.shape}, length={self.length})"

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `(n, *shape)` inside the bounds, kinds in random order."""
        counts = zip(KINDS, in_equal_parts(n, len(KINDS)), strict=True)
        signals = torch.cat([
            self._of(kind, count, generator) for kind, count in counts if count
        ])[torch.randperm(n, generator=generator)]  # fmt: skip
        level = 0.5 + 0.15 * self._for_each_channel(torch.randn, n, generator)
        spread = _SPREAD * (0.3 + 1.4 * self._for_each_channel(torch.rand, n, generator))
        return self.range.clamp(self.range.from_unit(self._to_shape(level + spread * signals)))

    def project(self, x: Tensor) -> Tensor:
        """Clamp `(B, *shape)` to the bounds."""
        return self.range.clamp(x)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Move each of `(B, *shape)` by up to a twentieth of its length, inside the bounds; ends repeat."""
        most = max(1, round(self.length / 20))
        by = torch.randint(-most, most + 1, (len(x), 1), generator=generator).to(x.device)
        at = (torch.arange(self.length, device=x.device) + by).clamp(0, self.length - 1)
        signals = self.to_signals(x)
        return self.range.clamp(self._to_shape(signals.gather(-1, at[:, None].expand_as(signals))))

    def penalty(self, x: Tensor) -> Tensor:
        """Total variation in time of `(B, *shape)` in units of the bounds, `(B,)` (CAKE, L_TV)."""
        return total_variation(self.to_signals(self.range.to_unit(x))[:, :, None])

    def _of(self, kind: Kind, n: int, generator: torch.Generator) -> Tensor:
        signals = kind(n, self.channels, self.length, generator)
        if self.channels > 1:
            common = kind(n, 1, self.length, generator) * torch.randn(
                n, self.channels, 1, generator=generator
            )
            share = uniform(n, 0.0, 1.0, generator)
            signals = standardised((1 - share) * signals + share * common, 1)
        grain = _GRAIN * uniform(n, 0.0, 1.0, generator).square()
        return signals + grain * torch.randn(signals.shape, generator=generator)

    def _for_each_channel(self, draw: Callable[..., Tensor], n: int, generator: torch.Generator) -> Tensor:
        """`(n, channels, 1)` numbers: for half of the samples one for all channels, else one for each."""
        own, one = draw(n, self.channels, 1, generator=generator), draw(n, 1, 1, generator=generator)
        return torch.where(uniform(n, 0.0, 1.0, generator) < 0.5, one, own)

    def to_signals(self, x: Tensor) -> Tensor:
        """View `(B, *shape)` as `(B, channels, length)`."""
        return x.movedim(self.axis + 1, -1).reshape(len(x), self.channels, self.length)

    def _to_shape(self, signals: Tensor) -> Tensor:
        return signals.movedim(-1, self.axis + 1).reshape(len(signals), *self.shape)
