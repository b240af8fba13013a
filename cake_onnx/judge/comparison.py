"""How alike two classifiers are on one kind of sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cake_onnx.graph.runtime import probabilities, scores
from cake_onnx.graph.specs import InputSpec, OutputSpec
from cake_onnx.judge.suites import FloatArray, Suite

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_SMALLEST = 1e-12


@dataclass(frozen=True)
class Side:
    """One of two models: its bytes, onnxruntime on it, what it takes and what it says."""

    model: bytes
    session: InferenceSession
    input: InputSpec
    output: OutputSpec


@dataclass(frozen=True)
class Comparison:
    """How alike two classifiers are on one suite.

    Attributes:
        suite: The samples.
        teacher: Class probabilities `(B, K)`.
        student: Class probabilities `(B, K)`.
    """

    suite: Suite
    teacher: FloatArray
    student: FloatArray

    @property
    def same(self) -> npt.NDArray[np.bool_]:
        """Whether both decide alike, `(B,)`."""
        return np.asarray(self.teacher.argmax(1) == self.student.argmax(1))

    @property
    def agreement(self) -> float:
        """Share of samples on which both decide alike, in [0, 1]."""
        return float(self.same.mean())

    @property
    def kl(self) -> float:
        """Mean KL(teacher, student) in nats."""
        teacher, student = _log(self.teacher), _log(self.student)
        return float((np.exp(teacher) * (teacher - student)).sum(1).mean())

    @property
    def margins(self) -> tuple[FloatArray, FloatArray]:
        """Log odds between the first and the second class of either model, `(B,)` each."""
        return _margin(self.teacher), _margin(self.student)

    def per_class(self) -> list[tuple[int, int, float | None]]:
        """For each class: its index, the samples the teacher gives to it, and the agreement on them."""
        classes, same = self.teacher.argmax(1), self.same
        counts = np.bincount(classes, minlength=self.teacher.shape[1])
        agreed = np.bincount(classes, weights=same, minlength=self.teacher.shape[1])
        return [(k, int(n), float(agreed[k] / n) if n else None) for k, n in enumerate(counts)]


def compare(
    suite: Suite,
    teacher: Callable[[FloatArray], FloatArray],
    student: Callable[[FloatArray], FloatArray],
    batch: int = 250,
) -> Comparison:
    """Ask both models for class probabilities `(B, K)`, in batches."""
    parts = [suite.x[i : i + batch] for i in range(0, len(suite.x), batch)]
    return Comparison(
        suite, np.concatenate([teacher(x) for x in parts]), np.concatenate([student(x) for x in parts])
    )


def asker(side: Side) -> Callable[[FloatArray], FloatArray]:
    """A function from inputs `(B, *shape)` to class probabilities `(B, K)` of this model."""
    return lambda x: probabilities(scores(side.session, side.input, side.output, x), side.output.kind)


def decision_grid(
    input: InputSpec, points: FloatArray, side: int = 160
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """Grid over the plane for a teacher with two features: both axes and points `(side^2, 2)`; else None."""
    if int(np.prod(input.shape)) != 2:
        return None
    plane = points.reshape(len(points), 2)
    low, high = plane.min(0), plane.max(0)
    x, y = (np.linspace(low[i], high[i], side, dtype=np.float32) for i in range(2))
    columns, rows = np.meshgrid(x, y)
    return x, y, np.stack([columns.ravel(), rows.ravel()], 1).reshape(-1, *input.shape)


def _log(probabilities: FloatArray) -> FloatArray:
    return np.asarray(np.log(np.maximum(probabilities, _SMALLEST)))


def _margin(probabilities: FloatArray) -> FloatArray:
    best = np.sort(_log(probabilities), axis=1)[:, -2:]
    return np.asarray(best[:, 1] - best[:, 0])
