"""What a teacher is and what would be done with it, without doing it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from cake_onnx.config import Config
from cake_onnx.evaluation import load_evaluation
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.rounds import RoundSettings
from cake_onnx.priors import build_prior
from cake_onnx.teacher import Teacher, load_teacher


def describe(path: Path, config: Config) -> dict[str, Any]:
    """Facts about a teacher, name to value, in an order for people.

    Raises:
        UsageError: There is no such file.
        UnsupportedTeacherError: It is not a classifier that can be distilled; the message says why.
    """
    return _describe(load_teacher(path, config.input_range, config.mean, config.std))


def _describe(teacher: Teacher) -> dict[str, Any]:
    prior, reason = build_prior("auto", teacher.input, teacher.module)
    spec, output, bounds = teacher.input, teacher.output, teacher.input.bounds
    shown = f"{min(bounds.low):g} to {max(bounds.high):g}, {bounds.source}"
    return {
        "file": f"{teacher.file.path.name}, {teacher.file.bytes:,} bytes, {teacher.parameters:,} parameters",
        "input": f"{spec.name}: {spec.dtype} (batch, {', '.join(map(str, spec.shape))}), {spec.layout}",
        "range": shown,
        "output": f"{output.scores}: {output.kind}, {output.classes} classes",
        "operators": ", ".join(f"{name} {count}" for name, count in sorted(teacher.operators.items())),
        "built of": ", ".join(sorted(teacher.traits)) or "plain layers",
        "parity": str(teacher.parity),
        "prior": f"{prior.name}: {reason}",
    }


def preview(path: Path, config: Config) -> dict[str, Any]:
    """What `compress` would do, name to value, in an order for people.

    Raises:
        UsageError: An option cannot be used as given.
        UnsupportedTeacherError: The file is not a classifier that can be distilled.
    """
    teacher = load_teacher(path, config.input_range, config.mean, config.std)
    if config.eval:
        load_evaluation(config.eval, teacher.input, teacher.output.classes)
    facts = _describe(teacher)  # before the module moves to the device
    student = choose_student(teacher, config)
    lesson, reason = prepare_lesson(teacher, student, config)
    return facts | {
        "student": f"{student.family} of {student.parameters:,} parameters, because {student.reason}",
        "prior": f"{lesson.prior.name}: {reason}",
        "torch": str(lesson.device),
        "plan": _plan(config, teacher),
    }


def _plan(config: Config, teacher: Teacher) -> str:
    rounds = config.planned_rounds
    if config.method == "paper":
        return f"{rounds} sets as published, then 30 epochs"
    passes = rounds * RoundSettings().passes
    limit = f", or what fits into {config.max_minutes:g} minutes" if config.max_minutes else ""
    per_pass = math.prod(teacher.input.shape)
    return f"{rounds} rounds, {passes:,.0f} teacher passes of {per_pass:,} inputs{limit}"
