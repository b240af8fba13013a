"""From what the stages gave to what people are told."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import onnx
import torch

from cake_onnx.devices import processor_name
from cake_onnx.graph.check import Parity
from cake_onnx.graph.inspect import is_quantised, operator_counts, parameter_count
from cake_onnx.graph.latency import Latency as MeasuredLatency
from cake_onnx.graph.load import LoadedModel
from cake_onnx.graph.specs import InputSpec, OutputSpec
from cake_onnx.judge import Comparison, Verdict
from cake_onnx.report import facts, measures
from cake_onnx.report.model import Report

FloatArray = npt.NDArray[np.float32]
_BINS = 40


@dataclass(frozen=True)
class Run:
    """How the student came about; all of it empty where two models were only compared.

    Attributes:
        method: `rounds`, `paper` or None.
        rounds: Rounds or sets done.
        passes: Teacher passes.
        curve: Rounds, passes, loss and agreement after each round.
        seconds: Stage to seconds.
        seed: Of the run.
        device: Device and precision.
        ranks: Processes that shared the work.
        student_file_sha256: Of the file that the student was made from, if it was.
        own_prior: Function of a user's own that drew what samples start from, if one did.
    """

    method: str | None
    rounds: int
    passes: float
    curve: tuple[measures.CurvePoint, ...]
    seconds: Mapping[str, float]
    seed: int
    device: str
    ranks: int = 1
    student_file_sha256: str | None = None
    own_prior: str | None = None


@dataclass(frozen=True)
class Subject:
    """One of the two models: the name of its file, its bytes with external data, its graph and weights."""

    name: str
    sha256: str
    size: int
    model: onnx.ModelProto
    parameters: int

    @classmethod
    def of_file(cls, file: LoadedModel, parameters: int | None = None) -> Subject:
        """A model read from disk; `parameters` where more is known of them than what the file stores."""
        counted = parameter_count(file.model) if parameters is None else parameters
        return cls(file.path.name, file.sha256, file.bytes, file.model, counted)

    @classmethod
    def of_bytes(cls, name: str, data: bytes) -> Subject:
        """A model that is not on disk yet."""
        model = onnx.load_from_string(data)
        return cls(name, hashlib.sha256(data).hexdigest(), len(data), model, parameter_count(model))


def assemble(
    *,
    teacher: Subject,
    student: Subject,
    family: str,
    chosen_because: str,
    input: InputSpec,
    output: OutputSpec,
    conversion: Parity | None,
    export: Parity | None,
    verdict: Verdict,
    run: Run,
    assumptions: tuple[str, ...],
    command: str,
    config_text: str,
    widths: Sequence[tuple[tuple[str, ...], int, int]] | None = None,
    unquantised: tuple[int, int] | None = None,
) -> Report:
    """Put the facts of a compression, or of a comparison, into a report.

    `widths` holds layers, their channels in the teacher and in the student; None where the student is not the
    teacher grown down. `unquantised` holds the bytes of the student's file in float32 and the number of
    samples it was calibrated on; None where it was not quantised.
    """
    return Report(
        cake_onnx=version("cake-onnx"),
        command=command,
        config=config_text,
        teacher=facts.ModelFacts(**_facts(teacher, verdict.teacher_latency, verdict)),
        student=facts.StudentFacts(
            **_facts(student, verdict.student_latency, verdict),
            family=family,
            chosen_because=chosen_because,
            widths=None if widths is None else tuple(_widths(*entry) for entry in widths),
        ),
        input=_input(input),
        output=facts.OutputFacts(
            names=tuple(entry.name for entry in teacher.model.graph.output),
            kind=output.kind,
            classes=output.classes,
            class_names=output.class_names,
        ),
        conversion=_parity(conversion),
        export=_parity(export),
        run=_run(run),
        curves=run.curve,
        fidelity=tuple(_fidelity(comparison) for comparison in verdict.comparisons),
        margins=_margins(verdict.leading),
        accuracy=_accuracy(verdict),
        rounding=_rounding(verdict, unquantised),
        gates=tuple(measures.Gate(**gate.__dict__) for gate in verdict.gates),
        assumptions=assumptions,
    )


def _facts(subject: Subject, latency: tuple[MeasuredLatency, ...], verdict: Verdict) -> dict[str, object]:
    opsets = {entry.domain: entry.version for entry in subject.model.opset_import}
    return {
        "file": subject.name, "sha256": subject.sha256, "bytes": subject.size,
        "parameters": subject.parameters, "opset": opsets.get("", opsets.get("ai.onnx", 1)),
        "operators": operator_counts(subject.model), "quantised": is_quantised(subject.model),
        "latency": _latencies(latency, verdict),
    }  # fmt: skip


def _latencies(measured: Sequence[MeasuredLatency], verdict: Verdict) -> tuple[facts.Latency, ...]:
    place = {"provider": verdict.latency_provider, "threads": verdict.latency_threads}
    return tuple(facts.Latency(**place, **entry.__dict__) for entry in measured)


def _widths(layers: tuple[str, ...], teacher: int, student: int) -> facts.LayerWidths:
    return facts.LayerWidths(layers=layers, teacher=teacher, student=student)


def _input(spec: InputSpec) -> facts.InputFacts:
    return facts.InputFacts(
        name=spec.name, shape=spec.shape, dtype=spec.dtype, layout=spec.layout, low=spec.bounds.low,
        high=spec.bounds.high, bounds_source=spec.bounds.source, bounds_assumed=spec.bounds.assumed,
    )  # fmt: skip


def _parity(parity: Parity | None) -> facts.ParityFacts | None:
    if parity is None:
        return None
    return facts.ParityFacts(
        max_abs_diff=parity.max_abs_diff, tolerance=parity.tolerance,
        top1_agreement=parity.top1_agreement, n=parity.n, quantised=parity.quantised,
    )  # fmt: skip


def _run(run: Run) -> facts.RunFacts:
    return facts.RunFacts(
        method=run.method, rounds=run.rounds, passes=run.passes,
        seconds=facts.Seconds(total=sum(run.seconds.values()), stages=dict(run.seconds)),
        seed=run.seed, device=run.device, ranks=run.ranks, threads=torch.get_num_threads(),
        student_file_sha256=run.student_file_sha256, own_prior=run.own_prior,
        versions={name: version(name) for name in ("torch", "onnx", "onnxruntime")}
        | {"python": platform.python_version()},
        machine=facts.Machine(processor=processor_name(), cores=len(os.sched_getaffinity(0))),
    )  # fmt: skip


def _fidelity(comparison: Comparison) -> measures.Fidelity:
    n, agreed = len(comparison.same), int(comparison.same.sum())
    low, high = measures.wilson_interval(agreed, n)
    teacher_margin, student_margin = comparison.margins
    return measures.Fidelity(
        samples=comparison.suite.name, role=comparison.suite.role, n=n, agreement=agreed / n,
        low=low, high=high,
        mean_kl=comparison.kl, mean_margin_teacher=float(teacher_margin.mean()),
        mean_margin_student=float(student_margin.mean()),
        per_class=tuple(
            measures.ClassAgreement(class_index=k, n=count, agreement=share)
            for k, count, share in comparison.per_class()
        ),
    )  # fmt: skip


def _margins(comparison: Comparison) -> measures.Margins:
    teacher, student = comparison.margins
    # The far tail of a few confident samples would squeeze everything else into one bin.
    top = max(float(np.percentile(np.concatenate([teacher, student]), 99)), 1e-6)
    edges = np.linspace(0, top, _BINS + 1)
    counts = [np.histogram(np.minimum(values, top), edges)[0] for values in (teacher, student)]
    return measures.Margins(
        samples=comparison.suite.name, edges=tuple(float(edge) for edge in edges),
        teacher=tuple(int(c) for c in counts[0]), student=tuple(int(c) for c in counts[1]),
    )  # fmt: skip


def _accuracy(verdict: Verdict) -> measures.Accuracy | None:
    return None if verdict.accuracy is None else measures.Accuracy(**verdict.accuracy.__dict__)


def _rounding(verdict: Verdict, unquantised: tuple[int, int] | None) -> measures.Rounding | None:
    if verdict.rounding is None or unquantised is None:
        return None
    compared, (size, calibrated_on) = verdict.rounding, unquantised
    return measures.Rounding(
        calibrated_on=calibrated_on, samples=compared.suite.name, n=len(compared.same),
        agreement=compared.agreement, bytes=size, latency=_latencies(verdict.unquantised_latency, verdict),
    )  # fmt: skip


def assumptions(
    input: InputSpec,
    prior: str,
    verdict: Verdict,
    changes: Sequence[str] = (),
    remarks: tuple[str, str] = ("", ""),
) -> tuple[str, ...]:
    """What was taken for granted, one sentence each, the most consequential first.

    Args:
        input: What the teacher takes.
        prior: Where samples start, as a sentence.
        verdict: What was measured.
        changes: What was done to the teacher's file before it could be used; the student has that form.
        remarks: How teacher and student were run, where an application would not run them so.
    """
    bounds = input.bounds
    found = [f"Inputs lie in {bounds} ({bounds.source})."]
    if bounds.assumed:
        found = [
            f"Nobody said how inputs are scaled; {bounds} was assumed. "
            "State it with --input-range or --mean and --std."
        ]
    found += [f"The teacher's file was changed first, and the student has that form: {c}." for c in changes]
    found += [f"The {who} was {r}." for who, r in zip(("teacher", "student"), remarks, strict=True) if r]
    held_out = next((c for c in verdict.comparisons if c.suite.role == "held-out"), None)
    unseen = [k for k, n, _ in held_out.per_class() if not n] if held_out else []
    if unseen:
        few = ", ".join(map(str, unseen[:10])) + (", …" if len(unseen) > 10 else "")
        found.append(
            f"The teacher gave no held-out sample to {len(unseen)} of its classes ({few}); "
            "of those nothing is known."
        )
    return (*found, prior)
