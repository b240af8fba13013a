"""Gradients of a converted teacher against finite differences of onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cake_onnx.graph.runtime import Array, bound_arrays
from cake_onnx.graph.specs import InputSpec

Logits = Callable[[Array], Array]
"""`(B, *shape)` to `(B, K)` logits by onnxruntime, one sample at a time."""

_SHARES = (3e-2, 1e-2, 3e-3, 1e-1, 1e-3, 3e-1, 3e-4)
"""Steps, as the change of the score they should make over its spread: small enough not to cross the kinks of
ReLU and maximum, large enough to stand above rounding. The usual ones come first."""
_COARSE_SHARES = (3e-1, 1e-1, 1.0)
_UNITS = (1, 2, 4, 8)
"""Steps of inputs that are whole numbers."""
_LARGEST_STEP = 0.05
"""Change of any input element, over its range."""
_GOOD_ENOUGH = 0.02
"""No further steps are tried below this difference."""


@dataclass(frozen=True)
class Slopes:
    """How well gradients and differences agree; NaN where a slope is too small to be measured.

    Attributes:
        norms: `(B,)` Euclidean norms of the gradient of one score a sample.
        along: Relative differences along the gradient itself, one for each sample with a gradient.
        across: Differences along random directions, in units of what the gradient makes of such a direction
            on average; a gradient that lacks a part shows here even where it is right as far as it goes.
    """

    norms: Array
    along: Array
    across: Array


@dataclass(frozen=True)
class Differences:
    """Finite differences of onnxruntime.

    Attributes:
        logits: onnxruntime.
        input: What it takes; steps of integers are whole.
        spread: How far the weighted scores of different samples lie apart.
        rounding: Changes of a logit up to this are lost in rounding, and no step that makes less counts.
    """

    logits: Logits
    input: InputSpec
    spread: float
    rounding: float

    def best(self, slope: Slope, direction: Array, shares: tuple[float, ...], typical: float) -> float:
        """The smallest relative difference over all steps, NaN where none rises above rounding.

        `Slopes` says what it is relative to.

        Args:
            slope: Gradient, point and weights.
            direction: `(*shape)`, of any length.
            shares: Sizes of steps, in the order to try them.
            typical: Change of the score for each unit of distance.
        """
        errors: list[float] = []
        for ends in self._pairs(slope.x, direction, shares, typical):
            moved = ends[0].astype(np.float64) - ends[1]
            distance = float(np.linalg.norm(moved))
            if typical * distance <= self.rounding * float(np.linalg.norm(slope.weights)):
                continue
            scores = self.logits(ends).astype(np.float64) @ slope.weights
            error = abs(scores[0] - scores[1] - (slope.gradient * moved).sum()) / (typical * distance)
            errors.append(float(error) if np.isfinite(error) else math.inf)
            if errors[-1] < _GOOD_ENOUGH:
                break
        return min(errors, default=math.nan)

    def _pairs(self, x: Array, direction: Array, shares: tuple[float, ...], typical: float) -> list[Array]:
        """Both ends of every step."""
        low, high = bound_arrays(self.input)
        if np.dtype(self.input.dtype).kind in "iu":
            steps = [np.sign(direction) * unit for unit in _UNITS]
            return [np.clip(np.stack([x + s, x - s]), low, high).astype(np.float32) for s in steps]
        unit = direction / np.linalg.norm(direction)
        longest = _LARGEST_STEP * float(np.min(high - low)) / float(np.abs(unit).max())
        reaches = [min(share * self.spread / typical, longest) / 2 for share in shares]
        return [np.stack([x + r * unit, x - r * unit]).astype(np.float32) for r in reaches]


@dataclass(frozen=True)
class Slope:
    """The gradient `(*shape)`, float64, of `weights @ logits(x)` at x."""

    gradient: npt.NDArray[np.float64]
    x: Array
    weights: Array


def compare_slopes(
    differences: Differences, gradient: Array, x: Array, weights: Array, *, coarse: bool
) -> Slopes:
    """Compare gradients with central differences of onnxruntime, the best of several steps.

    Args:
        differences: onnxruntime.
        gradient: `(B, *shape)` gradients of `weights[i] @ logits(x)[i]` at `x[i]`.
        x: `(B, *shape)` points.
        weights: `(B, K)`.
        coarse: Take steps that cross the grid of a rounding.
    """
    exact = gradient.astype(np.float64)
    norms = np.linalg.norm(exact.reshape(len(x), -1), axis=1)
    rng = np.random.default_rng(2)
    shares = _COARSE_SHARES if coarse else _SHARES
    if not norms.any():
        nothing = np.full(len(x), np.nan, np.float32)
        return Slopes(norms.astype(np.float32), nothing, nothing)
    usual = float(np.median(norms[norms > 0]))
    along, across = [], []
    for i in range(len(x)):
        slope, norm = Slope(exact[i], x[i], weights[i]), float(norms[i])
        along.append(differences.best(slope, gradient[i] / norm, shares, norm) if norm else math.nan)
        # Where the gradient is zero, onnxruntime must stand still too, by the measure of other samples.
        signs = rng.choice([-1.0, 1.0], x[i].shape)
        across.append(differences.best(slope, signs, shares, (norm or usual) / x[i].size ** 0.5))
    return Slopes(norms.astype(np.float32), np.array(along, np.float32), np.array(across, np.float32))


def score_gradients(
    module: Callable[[Tensor], Tensor], x: Array, weights: Array
) -> tuple[Array | None, Array]:
    """Gradients `(B, *shape)` of one weighted sum of logits a sample, and the logits.

    The gradient is None where the graph passes none on.
    """
    point = torch.from_numpy(x).requires_grad_()
    logits = module(point)
    total = (logits * torch.from_numpy(weights)).sum()
    found: Array = logits.detach().numpy()
    if not total.requires_grad:
        return None, found
    gradient: Tensor | None = torch.autograd.grad(total, point, allow_unused=True)[0]
    return None if gradient is None else gradient.numpy(), found


def score_weights(n: int, classes: int) -> Array:
    """`(n, K)` weights: random sums of all logits, then single classes spread over all of them."""
    mixed = np.random.default_rng(0).standard_normal((n, classes)).astype(np.float32)
    for i in range(n // 2, n):
        mixed[i] = 0
        mixed[i, (i - n // 2) * classes // (n - n // 2)] = 1
    return mixed
