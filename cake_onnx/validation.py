"""The verdict alone, for any two classifiers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from cake_onnx import progress as tell
from cake_onnx.config import Config, to_toml
from cake_onnx.devices import Device, find_device, generator
from cake_onnx.errors import UnsupportedTeacherError, UsageError
from cake_onnx.evaluation import load_evaluation
from cake_onnx.graph.load import LoadedModel, load_model
from cake_onnx.graph.reference import open_reference
from cake_onnx.graph.signature import read_signature
from cake_onnx.judge import CPU, Side, Suite, judge
from cake_onnx.methods.held_out import held_out_suites
from cake_onnx.methods.lesson import fitting_part
from cake_onnx.priors import UniformPrior, build_prior
from cake_onnx.report.assemble import Run, Subject, assemble, assumptions
from cake_onnx.report.model import Report
from cake_onnx.teacher import load_teacher

_SIZE = 1000


@dataclass(frozen=True)
class _Opened:
    file: LoadedModel
    side: Side
    changes: tuple[str, ...]
    remark: str


def validate(
    teacher: Path,
    student: Path,
    config: Config,
    report: tell.Report = tell.silent,
    latency_provider: str | None = CPU,
) -> Report:
    """Compare two classifiers in onnxruntime.

    Args:
        teacher: The file that counts as right.
        student: The file that is judged.
        config: Input range, prior, evaluation data, gate, device and seed are read.
        report: Called at every step forward.
        latency_provider: onnxruntime's execution provider to time both on; None times nothing.

    Raises:
        UsageError: A path or an option cannot be used as given, or the two take or say different things.
        UnsupportedTeacherError: One of them is not a classifier.
    """
    start = time.perf_counter()
    report(tell.Progress("read", 0, 1))
    first, second = _open(teacher, config), _open(student, config)
    _require_same_shape(first, second)
    spec, output = first.side.input, first.side.output
    evaluation = load_evaluation(config.eval, spec, output.classes) if config.eval else None
    suites, prior = _suites(teacher, first, config)
    report(tell.Progress("read", 1, 1))
    verdict = judge(
        first.side, second.side, suites, evaluation, config.min_agreement, report, latency_provider
    )
    seconds = {"judge": time.perf_counter() - start}
    run = Run(None, 0, 0.0, (), seconds, config.seed, "onnxruntime, cpu", own_prior=config.own_prior)
    return assemble(
        teacher=Subject.of_file(first.file), student=Subject.of_file(second.file),
        family="given", chosen_because="it was given", input=spec, output=output,
        conversion=None, export=None, verdict=verdict, run=run,
        assumptions=assumptions(
            spec, f"Samples start from {prior}.", verdict, first.changes, (first.remark, second.remark)
        ),
        command=f"cake-onnx validate {first.file.path.name} {second.file.path.name}",
        config_text=to_toml(config),
    )  # fmt: skip


def _open(path: Path, config: Config) -> _Opened:
    file = load_model(path)
    reference = open_reference(file)
    input, output = read_signature(
        reference.model, input_range=config.input_range, mean=config.mean, std=config.std
    )
    side = Side(reference.runnable(file), reference.session, input, output)
    return _Opened(file, side, reference.changes, reference.remark)


def _require_same_shape(first: _Opened, second: _Opened) -> None:
    one, other = (
        f"{list(o.side.input.shape)} in and {o.side.output.classes} classes out" for o in (first, second)
    )
    if one != other:
        raise UsageError(
            f"two classifiers alike: {first.file.path.name} takes and gives {one}",
            f"{other} in {second.file.path.name}",
            "give a teacher and its own student",
        )


def _suites(path: Path, opened: _Opened, config: Config) -> tuple[list[Suite], str]:
    """Suites to compare on, and where they start from."""
    spec, output = opened.side.input, opened.side.output
    place = find_device(config.device)
    try:
        teacher = load_teacher(path, config.input_range, config.mean, config.std)
    except UnsupportedTeacherError:
        # Two models can be compared though one has no gradient; only the boundary cannot be found then.
        draw = generator(config.seed, "held-out")
        prior, _ = build_prior(config.prior, spec, None)
        plain = [
            Suite("prior samples", "held-out", prior.draw(_SIZE, draw).numpy()),
            Suite("uniform noise", "baseline", UniformPrior(spec).draw(_SIZE, draw).numpy()),
        ]
        return plain, f"the {prior.name} prior; the teacher has no gradient, so its boundary was not sought"
    prior, reason = build_prior(config.prior, spec, teacher.module)
    part = fitting_part(place, prior.draw(250, generator(config.seed, "memory")), teacher.module)
    run = Device(place, None, part).fitting(teacher.module.to(place))
    return (
        held_out_suites(run, prior, spec, output.classes, config.seed, _SIZE, place),
        f"the {prior.name} prior, because {reason}",
    )
