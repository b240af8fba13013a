"""The verdict on two ONNX files: agreement, accuracy where there are labels, latency, gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cake_onnx import progress as tell
from cake_onnx.evaluation import Evaluation
from cake_onnx.graph.latency import Latency, latency
from cake_onnx.graph.runtime import open_session
from cake_onnx.judge.comparison import Comparison, Side, asker, compare
from cake_onnx.judge.suites import Suite, leading_first

CPU = "CPUExecutionProvider"
#: Threads of one operator on the CPU; 0 elsewhere, where the number is the provider's own business.
LATENCY_THREADS = 1


@dataclass(frozen=True)
class Gate:
    """Something the result had to be: what was wanted, what came, and whether that is enough."""

    name: str
    wanted: str
    got: str
    passed: bool


@dataclass(frozen=True)
class LabelledResult:
    """Against the user's labels: where they came from, how many, and the share each model got right."""

    source: str
    n: int
    teacher: float
    student: float
    agreement: float


@dataclass(frozen=True)
class Verdict:
    """Everything measured on the two files.

    Attributes:
        comparisons: The user's data first, if there is any; then held-out samples; the noise baseline last.
        accuracy: Only with the user's labels.
        teacher_latency: Per batch size; empty where it was not measured.
        student_latency: Per batch size.
        gates: What had to hold.
        latency_provider: onnxruntime's name of the execution provider that was timed.
        rounding: What quantising changed: the student in float32, and as it is, on the samples that lead.
        unquantised_latency: Of the student in float32, per batch size.
    """

    comparisons: tuple[Comparison, ...]
    accuracy: LabelledResult | None
    teacher_latency: tuple[Latency, ...]
    student_latency: tuple[Latency, ...]
    gates: tuple[Gate, ...]
    latency_provider: str = CPU
    rounding: Comparison | None = None
    unquantised_latency: tuple[Latency, ...] = ()

    @property
    def latency_threads(self) -> int:
        """Threads of one operator while timed; 0 leaves the number to the provider."""
        return LATENCY_THREADS if self.latency_provider == CPU else 0

    @property
    def leading(self) -> Comparison:
        """What a gate on agreement looks at: the user's data, else the held-out samples that agree least."""
        return _leading(self.comparisons)


def judge(
    teacher: Side,
    student: Side,
    suites: Sequence[Suite],
    evaluation: Evaluation | None = None,
    min_agreement: float | None = None,
    report: tell.Report = tell.silent,
    latency_provider: str | None = CPU,
    unquantised: Side | None = None,
) -> Verdict:
    """Judge a student against its teacher, or any two models of one shape and number of classes.

    Args:
        teacher: One model.
        student: The other.
        suites: Samples to compare on.
        evaluation: The user's data, or None; it comes first and decides the gate.
        min_agreement: Lowest acceptable agreement, or None for no gate.
        report: Called after each suite.
        latency_provider: Execution provider to time both on, or None to time nothing. Agreement is always
            judged on the CPU.
        unquantised: The student in float32, where it was quantised.

    Raises:
        UsageError: The provider is not there.
    """  # fmt: skip
    asked = [*([Suite("your data", "user", evaluation.x)] if evaluation else []), *suites]
    comparisons = []
    for index, suite in enumerate(asked):
        comparisons.append(compare(suite, asker(teacher), asker(student)))
        report(
            tell.Progress(
                "judge", index + 1, len(asked) + 1, f"{suite.name}: {comparisons[-1].agreement:.1%}"
            )
        )
    lead = _leading(comparisons)
    rounding = compare(lead.suite, asker(unquantised), asker(student)) if unquantised else None
    times = [_time(side, latency_provider) for side in (teacher, student, unquantised) if side]
    report(tell.Progress("judge", len(asked) + 1, len(asked) + 1, f"agreement {lead.agreement:.1%}"))
    return Verdict(
        tuple(comparisons), _accuracy(evaluation, comparisons[0]), times[0], times[1],
        _gates(lead, min_agreement), latency_provider or CPU, rounding, *times[2:],
    )  # fmt: skip


def _leading(comparisons: Sequence[Comparison]) -> Comparison:
    return min(comparisons, key=lambda made: leading_first(made.suite.role, made.agreement))


def _time(side: Side, provider: str | None) -> tuple[Latency, ...]:
    if provider is None:
        return ()
    threads = LATENCY_THREADS if provider == CPU else None
    return tuple(latency(open_session(side.model, provider, threads), side.input))


def _accuracy(evaluation: Evaluation | None, comparison: Comparison) -> LabelledResult | None:
    if evaluation is None or evaluation.y is None:
        return None
    right = [float(np.mean(p.argmax(1) == evaluation.y)) for p in (comparison.teacher, comparison.student)]
    return LabelledResult(evaluation.name, len(evaluation.y), right[0], right[1], comparison.agreement)


def _gates(leading: Comparison, min_agreement: float | None) -> tuple[Gate, ...]:
    if min_agreement is None:
        return ()
    got = leading.agreement
    return (
        Gate(
            f"agreement on {leading.suite.name}",
            f">= {min_agreement:.2%}",
            f"{got:.2%} ({int(leading.same.sum()):,} of {len(leading.same):,})",
            got >= min_agreement,
        ),
    )
