"""The interface of a prior, and the range of values it may not leave."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, spec: InputSpec, device: torch.device | str = "cpu") -> ValueRange:
        """Read the bounds of `spec`; per-channel bounds land on the channel axis of its layout."""
        view = {"NCHW": (-1, 1, 1), "NHWC": (1, 1, -1), "flat": (-1, *[1] * (len(spec.shape) - 1))}[
            spec.layout
        ]
        low, high = (
            torch.tensor(values, dtype=torch.float32, device=device).view(view)
            for values in (spec.bounds.low, spec.bounds.high)
        )
        return cls(low, high)

    @property
    def span(self) -> Tensor:
        """`high - low`."""
        return self.high - self.low

    def clamp(self, x: Tensor) -> Tensor:
        """`x` `(B, *shape)` with every element moved to the nearest allowed value."""
        return torch.maximum(torch.minimum(x, self.high.to(x.device)), self.low.to(x.device))

    def from_unit(self, unit: Tensor) -> Tensor:
        """Map `(B, *shape)` from [0, 1] to the range."""
        return self.low.to(unit.device) + unit * self.span.to(unit.device)

    def to_unit(self, x: Tensor) -> Tensor:
        """Map `(B, *shape)` from the range to [0, 1]."""
        return (x - self.low.to(x.device)) / self.span.to(x.device)


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
