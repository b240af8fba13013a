"""The interface of a prior, and the range of values it may not leave."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from cake_onnx.graph.specs import InputSpec


@dataclass(frozen=True)
class ValueRange:
    """The bounds of an input as tensors that broadcast against `(B, *shape)`, wherever that lies.

    Attributes:
        low: Lowest value, broadcastable.
        high: Highest value, broadcastable.
        numbers: Both, where they are the same for every element; then clamping takes a third of the time.
    """

    low: Tensor
    high: Tensor
    numbers: tuple[float, float] | None = None

    @classmethod
    def of(cls, spec: InputSpec, device: torch.device | str = "cpu") -> ValueRange:
        """Read the bounds of `spec`; those of channels land on its channel axis."""
        low, high = (
            torch.tensor(values, dtype=torch.float32, device=device).view(spec.bounds_shape)
            for values in (spec.bounds.low, spec.bounds.high)
        )
        alike = len(set(spec.bounds.low)) == len(set(spec.bounds.high)) == 1
        return cls(low, high, (spec.bounds.low[0], spec.bounds.high[0]) if alike else None)

    @cached_property
    def span(self) -> Tensor:
        """`high - low`; a single number where the bounds are the same everywhere."""
        span = self.high - self.low
        return span if self.numbers is None else span.flatten()[:1].view([1] * span.dim())

    def on(self, device: torch.device) -> ValueRange:
        """The same bounds there; moved once, since a GPU would wait for every copy."""
        if device == self.low.device:
            return self
        if device not in self._elsewhere:
            self._elsewhere[device] = replace(self, low=self.low.to(device), high=self.high.to(device))
        return self._elsewhere[device]

    def clamp(self, x: Tensor) -> Tensor:
        """`x` `(B, *shape)` with every element moved to the nearest allowed value."""
        if self.numbers is not None:
            return x.clamp(*self.numbers)
        here = self.on(x.device)
        return torch.maximum(torch.minimum(x, here.high), here.low)

    def from_unit(self, unit: Tensor) -> Tensor:
        """Map `(B, *shape)` from [0, 1] to the range."""
        here = self.on(unit.device)
        return here.low + unit * here.span

    def to_unit(self, x: Tensor) -> Tensor:
        """Map `(B, *shape)` from the range to [0, 1]."""
        here = self.on(x.device)
        return (x - here.low) / here.span

    @cached_property
    def _elsewhere(self) -> dict[torch.device, ValueRange]:
        return {}


class Prior(Protocol):
    """What inputs look like before the teacher has been asked.

    Attributes:
        name: The word a user writes after `--prior`.
    """

    name: str

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `(n, *shape)` float32 start points inside the bounds, on the CPU."""

    def project(self, x: Tensor) -> Tensor:
        """Move `(B, *shape)` back to where inputs may be."""

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Vary `(B, *shape)` in ways that keep it as likely as it was."""

    def penalty(self, x: Tensor) -> Tensor:
        """How unlikely each of `(B, *shape)` is, `(B,)`, 0 for the likeliest; differentiable."""
