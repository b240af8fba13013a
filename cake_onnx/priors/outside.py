"""A prior of a user's own: what a function of theirs builds, held to what every prior promises."""

from __future__ import annotations

import torch
from torch import Tensor

from cake_onnx.errors import UsageError
from cake_onnx.graph.specs import InputSpec
from cake_onnx.priors.base import Prior, ValueRange
from cake_onnx.priors.image import ImagePrior
from cake_onnx.priors.vector import UniformPrior
from cake_onnx.registry import ask_own, own_function

_SLACK = 1e-3
"""Share of the range by which a sample may miss it, as rounding does; it is clamped."""
_TRIED = 4
"""Samples that are drawn to see whether a prior keeps its promises."""


class OutsidePrior:
    """Draws by code of a user's own, inside the bounds of the teacher's input.

    The function is called as `factory(input=InputSpec)` and returns an object with
    `draw(n, generator) -> (n, *shape)`, in the teacher's units. `project`, `augment` and `penalty` are used
    where it has them, see `Prior`; else those of the images or of the vectors here are.

    Args:
        name: `package.module:factory`; the folder in which the command runs is searched first.
        spec: The teacher's input.

    Raises:
        UsageError: There is no such function, or what it builds fails or breaks a promise of a prior.
    """

    def __init__(self, name: str, spec: InputSpec) -> None:
        self.name, self.shape = name, spec.shape
        self.range = ValueRange.of(spec)
        self._own = ask_own(f"a prior from {name}", own_function(name), input=spec)
        shape = spec.image_shape
        self._other: Prior = UniformPrior(spec) if shape is None else ImagePrior(spec, shape)
        if not callable(getattr(self._own, "draw", None)):
            found = f"a {type(self._own).__name__} without it"
            raise UsageError(f"an object with draw(n, generator) from {name}", found, "add it")
        self._try_out()

    def __repr__(self) -> str:
        return f"OutsidePrior({self.name!r})"

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `(n, *shape)` float32 samples, on the CPU.

        Raises:
            UsageError: What comes has another shape, is not finite or lies outside the bounds.
        """
        x = self._ask("draw", n, generator)
        x = ask_own(f"an array from draw of {self.name}", torch.as_tensor, x).to("cpu", torch.float32)
        if x.shape != (n, *self.shape):
            self._refuse(f"samples of shape {[n, *self.shape]}", f"{list(x.shape)}")
        if not torch.isfinite(x).all():
            self._refuse("samples of finite numbers", "others among them")
        inside = self.range.clamp(x)
        if ((x - inside).abs() > _SLACK * self.range.span).any():
            found = f"values from {x.min():.4g} to {x.max():.4g}"
            self._refuse(f"samples inside the range of the input, {self._said()}", found)
        return inside

    def project(self, x: Tensor) -> Tensor:
        """Move `(B, *shape)` back to where inputs may be; the bounds are never left."""
        return self.range.clamp(self._ask("project", x))

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Vary `(B, *shape)` in ways that keep it as likely as it was."""
        return self.range.clamp(self._ask("augment", x, generator))

    def penalty(self, x: Tensor) -> Tensor:
        """How unlikely each of `(B, *shape)` is, `(B,)`."""
        return self._ask("penalty", x)

    def _ask(self, method: str, *given: object) -> Tensor:
        own = getattr(self._own, method, None)
        told: Tensor = (
            getattr(self._other, method)(*given)
            if own is None
            else ask_own(f"{method} of {self.name} to work", own, *given)
        )
        return told

    def _try_out(self) -> None:
        x, again = (self.draw(_TRIED, torch.Generator().manual_seed(0)) for _ in range(2))
        if not torch.equal(x, again):
            found = "two draws from generators of one seed that differ"
            self._refuse("samples that follow from the generator, so that a run can be repeated", found)
        shapes = {
            "project": self.project(x).shape,
            "augment": self.augment(x, torch.Generator().manual_seed(0)).shape,
        }
        for method, shape in shapes.items():
            if shape != x.shape:
                self._refuse(f"{list(x.shape)} from {method}", f"{list(shape)}")
        if self.penalty(x).shape != (_TRIED,):
            self._refuse(f"[{_TRIED}] from penalty", f"{list(self.penalty(x).shape)}")

    def _refuse(self, expected: str, found: str) -> None:
        raise UsageError(f"{expected}, from {self.name}", found, "mend the prior")

    def _said(self) -> str:
        return f"{self.range.low.min():.4g} to {self.range.high.max():.4g}"
