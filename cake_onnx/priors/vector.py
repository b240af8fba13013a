"""Priors for inputs with no known geometry: tables, points, features."""

from __future__ import annotations

import torch
from torch import Tensor

from cake_onnx.graph.specs import InputSpec
from cake_onnx.priors.base import ValueRange


class _Bounded:
    """What the priors of this module share: a shape, and bounds that are never left."""

    def __init__(self, spec: InputSpec) -> None:
        self.shape = spec.shape
        self.range = ValueRange.of(spec)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape})"

    def project(self, x: Tensor) -> Tensor:
        """Clamp `(B, *shape)` to the bounds."""
        return self.range.clamp(x)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Jitter `(B, *shape)` by a hundredth of the range; nothing else is known to be harmless."""
        noise = torch.randn(x.shape, generator=generator).to(x.device)
        return self.range.clamp(x + 0.01 * self.range.on(x.device).span * noise)

    def penalty(self, x: Tensor) -> Tensor:
        """Zero for each of `(B, *shape)`, `(B,)`: inside the bounds nothing is preferred."""
        return x.new_zeros(x.shape[0])


class UniformPrior(_Bounded):
    """Every value between the bounds is as likely as every other."""

    name = "uniform"

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `(n, *shape)` uniformly between the bounds."""
        return self.range.clamp(self.range.from_unit(torch.rand(n, *self.shape, generator=generator)))


class GaussianPrior(_Bounded):
    """Normal around the middle, the bounds three deviations away; what leaves them is clamped."""

    name = "gaussian"

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `(n, *shape)`; 99.7% of the elements need no clamping."""
        unit = 0.5 + torch.randn(n, *self.shape, generator=generator) / 6
        return self.range.clamp(self.range.from_unit(unit))

    def penalty(self, x: Tensor) -> Tensor:
        """Half the mean squared deviation of `(B, *shape)` from the middle, `(B,)`: -log density."""
        deviations = (self.range.to_unit(x) - 0.5) * 6
        return 0.5 * deviations.square().flatten(1).mean(1)


class TabularPrior(_Bounded):
    """Rows of a table whose columns may be correlated, skewed or at an edge.

    A third of the rows is uniform, which covers the box; a third is normal with a random low-rank
    correlation per block of rows, since columns of real tables move together; a third is normal around
    random centres of random width, since real rows cluster.
    """

    name = "tabular"
    _factors = 3
    _centres = 16

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `(n, *shape)` inside the bounds, the three kinds in random order."""
        features = torch.Size(self.shape).numel()
        kinds = [self._uniform, self._correlated, self._clustered]
        sizes = [n // 3, n // 3, n - 2 * (n // 3)]
        parts = [kind(size, features, generator) for kind, size in zip(kinds, sizes, strict=True)]
        rows = torch.cat(parts)[torch.randperm(n, generator=generator)]
        return self.range.clamp(self.range.from_unit(rows.view(n, *self.shape)))

    def _uniform(self, n: int, features: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, features, generator=generator)

    def _correlated(self, n: int, features: int, generator: torch.Generator) -> Tensor:
        loadings = torch.randn(self._factors, features, generator=generator) / self._factors**0.5
        common = torch.randn(n, self._factors, generator=generator) @ loadings
        own = torch.randn(n, features, generator=generator)
        rows: Tensor = 0.5 + (0.8 * common + 0.6 * own) / 6
        return rows

    def _clustered(self, n: int, features: int, generator: torch.Generator) -> Tensor:
        centres = torch.rand(self._centres, features, generator=generator)
        widths = 0.02 + 0.2 * torch.rand(self._centres, 1, generator=generator)
        pick = torch.randint(self._centres, (n,), generator=generator)
        return centres[pick] + widths[pick] * torch.randn(n, features, generator=generator)
