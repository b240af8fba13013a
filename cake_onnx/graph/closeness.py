"""What counts as equal when a conversion is compared with onnxruntime, for each kind of arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto

from cake_onnx.graph.runtime import Array
from cake_onnx.graph.slopes import Slopes

_ROUNDING = frozenset(["Sign", "Round", "Floor", "Ceil", "Binarizer"])
_AGREEMENT = 0.95
_NEAR_TIE = 0.02
"""Two steps of an 8-bit grid over the largest logit: classes this close may swap by a single rounding."""
_RIGHT_ALONG = 0.75
"""Share of samples whose slope must match: one may sit on a kink."""


@dataclass(frozen=True)
class Closeness:
    """How far a converted teacher may be from onnxruntime.

    A class is measured by its own spread over all samples, so that neither a large bias nor a large other
    class hides what goes on in it; `noise` of the largest logit is rounding that none avoids.

    Attributes:
        relative: Allowed difference of a class, over the spread of that class.
        noise: Allowed difference, over the largest logit.
        flips: Share of samples that may differ by up to `flipped` instead, because a rounding fell otherwise.
        flipped: Over the spread of all classes.
        along: Allowed relative difference of slopes along the gradient.
        across: Allowed root mean square of those across it, None where the gradient is a substitute.
        coarse: Slopes are taken over steps larger than the grid of a rounding.
        rounds: The graph computes with rounded numbers.
    """

    relative: float
    noise: float
    flips: float
    flipped: float
    along: float
    across: float | None
    coarse: bool
    rounds: bool

    def allowed(self, wanted: Array) -> Array:
        """`(B, K)` largest allowed differences from `wanted`, `(B, K)` of samples that are alike."""
        spread = np.ptp(wanted, axis=0)
        if self.rounds:
            spread = np.full_like(spread, spread.max())
        limit = self.relative * spread + self.noise * np.abs(wanted).max()
        return np.broadcast_to(limit, wanted.shape).astype(np.float32)

    def worst_miss(self, found: Array, wanted: Array, allowed: Array) -> tuple[int, int] | None:
        """Row and column of the worst difference if there are more and larger ones than allowed."""
        difference = np.abs(found - wanted)
        missing = (difference > allowed).any(axis=1)
        bound = allowed + self.flipped * np.ptp(wanted, axis=0).max()
        if missing.mean() <= self.flips and (difference <= bound).all():
            return None
        row, column = np.unravel_index(int(np.argmax(difference / np.maximum(allowed, 1e-30))), found.shape)
        return int(row), int(column)

    def overall_miss(self, found: Array, wanted: Array) -> tuple[str, str] | None:
        """Expected and found, where too many samples of a rounded graph change their class."""
        chosen = np.take_along_axis(wanted, found.argmax(axis=1)[:, None], axis=1)[:, 0]
        near = float((wanted.max(axis=1) - chosen <= _NEAR_TIE * np.abs(wanted).max()).mean())
        if not self.rounds or near >= _AGREEMENT:
            return None
        return f"the same class for {_AGREEMENT:.0%}", f"{near:.0%}"

    def slope_miss(self, slopes: Slopes) -> tuple[str, str] | None:
        """Expected and found, where gradients are not those of onnxruntime's function."""
        along, across = (values[~np.isnan(values)] for values in (slopes.along, slopes.across))
        if float((along <= self.along).mean()) < _RIGHT_ALONG:
            return (
                f"gradients within {self.along:.0%} of onnxruntime's differences",
                f"{(along > self.along).mean():.0%} of {len(along)} further off, "
                f"{np.median(along):.0%} in the median",
            )
        root = float(np.sqrt(np.mean(np.square(across)))) if len(across) else 0.0
        if self.across is not None and root > self.across:
            return (
                f"gradients that lack no part, within {self.across:.0%} of onnxruntime's differences "
                "along random directions",
                f"{root:.0%} off",
            )
        return None


_FLOAT = Closeness(1e-3, 3e-5, 0.0, 0.0, 0.1, 0.15, coarse=False, rounds=False)
_HALF = Closeness(2e-2, 2e-3, 0.0, 0.0, 0.25, None, coarse=True, rounds=False)
_QUANTISED = Closeness(3e-2, 2e-3, 0.5, 0.25, 1.0, None, coarse=True, rounds=True)
_BINARISED = Closeness(1e-3, 3e-5, 0.1, 0.5, 1.0, None, coarse=True, rounds=True)


def closeness_of(body: ModelProto, *, quantised: bool) -> Closeness:
    """The rule for a graph.

    Quantised graphs: half of the samples within 3 % of the spread, all within 25 %, the same class for 95 %
    but for near ties, slopes of the same sign. Graphs of floats with roundings: nine of ten samples as other
    floats. Slopes of both are asked for their sign only: their gradients are substitutes. Half precision:
    2 %.
    """
    if quantised:
        return _QUANTISED
    if any(node.op_type in _ROUNDING for node in body.graph.node):
        return _BINARISED
    # onnxruntime computes in float16 where the weights are; the converted module does not.
    codes = {tensor.data_type for tensor in body.graph.initializer}
    return _HALF if codes & {TensorProto.FLOAT16, TensorProto.BFLOAT16} else _FLOAT


def agreement(found: Array, wanted: Array) -> float:
    """Share of samples with the same best class."""
    return float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean())
