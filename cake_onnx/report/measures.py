"""What was measured: curves, fidelity, margins, accuracy, gates."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cake_onnx.report.facts import Latency
from cake_onnx.report.parts import Amount, Count, Part, Positive, Share


class CurvePoint(Part):
    """The state after one round."""

    round: Count
    passes: Amount
    """Teacher passes spent so far."""
    loss: float
    """Mean loss of the student in this round."""
    agreement: Share | None = None
    """Share of samples on which the student agreed with the teacher; null where it was not measured."""


class ClassAgreement(Part):
    """Agreement on the samples the teacher gives to one class."""

    class_index: Count
    n: Count
    agreement: Share | None
    """Null when the teacher gave this class no sample."""


class Fidelity(Part):
    """How alike teacher and student are on one kind of sample."""

    samples: str
    """What kind of samples, for people: `held-out samples`, `uniform noise`, `your data`."""
    role: Literal["user", "held-out", "baseline", "other"] = "other"
    """`user` and `held-out` may lead the verdict, `baseline` stands beside it."""
    n: Positive
    agreement: Share
    """Share of samples with the same winning class."""
    low: Share
    """Lower end of the 95% Wilson interval of `agreement`."""
    high: Share
    """Upper end of it."""
    mean_kl: Annotated[float, Field(ge=-1e-4)]
    """Mean KL(teacher, student) of the class probabilities, nats; rounding may bring it just below 0."""
    mean_margin_teacher: float
    """Mean of the teacher's first minus second logit."""
    mean_margin_student: float
    """The same of the student, for its own first and second class."""
    per_class: tuple[ClassAgreement, ...] = ()


class Margins(Part):
    """Histogram of first minus second logit, of both models on the same samples."""

    samples: str
    """What kind of samples."""
    edges: tuple[float, ...]
    """M+1 rising edges."""
    teacher: tuple[Count, ...]
    """M counts."""
    student: tuple[Count, ...]
    """M counts."""

    @model_validator(mode="after")
    def _edges_fit(self) -> Self:
        bins = len(self.edges) - 1
        if bins < 1 or len(self.teacher) != bins or len(self.student) != bins:
            raise ValueError("a histogram of M bins has M+1 edges and M counts for each model")
        if any(b <= a for a, b in pairwise(self.edges)):
            raise ValueError("the edges of a histogram must rise")
        return self


class Accuracy(Part):
    """Against true labels. Exists only where the user gave labelled data."""

    source: str
    """What the user gave, for people."""
    n: Positive
    teacher: Share
    student: Share
    agreement: Share
    """Share of these samples on which both say the same, right or wrong."""


class Rounding(Part):
    """What quantising the student changed: the same student in float32 beside the file that was written."""

    calibrated_on: Positive
    """Synthetic samples that the ranges of its activations come from."""
    samples: str
    """What kind of samples both were asked about."""
    n: Positive
    agreement: Share
    """Share of these on which both name the same class."""
    bytes: Positive
    """Size of the file in float32."""
    latency: tuple[Latency, ...] = ()
    """Of that file; empty when it was not measured."""


class Gate(Part):
    """One thing the result had to be."""

    name: str
    wanted: str
    got: str
    passed: bool


def wilson_interval(agreed: int, n: int) -> tuple[float, float]:
    """95% interval of a share (Wilson, 1927, "Probable inference", J. Am. Stat. Assoc. 22).

    Args:
        agreed: Successes, 0..n.
        n: Trials, at least 1.

    Returns:
        Lower and upper end, each in 0..1, with `agreed / n` between them.

    Raises:
        ValueError: If `n` is below 1 or `agreed` is outside 0..n.
    """
    if n < 1 or not 0 <= agreed <= n:
        raise ValueError(f"expected 0 <= agreed <= n and n >= 1, found agreed={agreed}, n={n}")
    z = 1.959963984540054
    share = agreed / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Rounding must not push an end past the share it encloses.
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))
