"""What a teacher is and what would be done with it, without doing it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from cake_onnx.config import Config
from cake_onnx.devices import samples_at_once
from cake_onnx.evaluation import load_evaluation
from cake_onnx.graph.cost import Cost, measure_cost
from cake_onnx.graph.load import load_model
from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.reference import open_reference
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.trace import trace
from cake_onnx.methods.fitted import passes_expected
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.quantising import require_quantisable
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.training import Lesson
from cake_onnx.methods.wishes import settle_size
from cake_onnx.priors import build_prior, probe_scale
from cake_onnx.report.table import file_size
from cake_onnx.teacher import Teacher, load_teacher


def describe(path: Path, config: Config) -> dict[str, Any]:
    """Facts about a teacher, name to value, in an order for people.

    Raises:
        UsageError: There is no such file.
        UnsupportedTeacherError: It is not a classifier that can be distilled; the message says why.
    """
    return _describe(load_teacher(path, config.input_range, config.mean, config.std), config.prior)


def _describe(teacher: Teacher, choice: str) -> dict[str, Any]:
    """Ten lines, or eleven where the range of the input is assumed."""
    prior, reason = build_prior(choice, teacher.input, teacher.module)
    spec, output, bounds, parity = teacher.input, teacher.output, teacher.input.bounds, teacher.parity
    cost = measure_cost(teacher.module, teacher.prepared, spec)
    operators = ", ".join(f"{name} {count}" for name, count in sorted(teacher.operators.items()))
    shown_parity = f"{parity}, {parity.n} samples one by one and in batches"
    return {
        "file": f"{teacher.file.path.name}, {teacher.file.bytes:,} bytes, {teacher.parameters:,} parameters",
        "input": f"{spec.name}: {spec.dtype} (batch, {', '.join(map(str, spec.shape))}), {spec.layout}",
        "range": f"{bounds}, {bounds.source}; samples by the {prior.name} prior, {reason}",
        **_scale(teacher),
        "output": f"{output.scores}: {output.kind}, {output.classes} classes",
        "operators": f"{operators}; {', '.join(sorted(teacher.traits)) or 'plain layers'}",
        "batch": "; ".join((*teacher.changes, *teacher.notes)),
        "parity": "; ".join(filter(None, (shown_parity, teacher.remark))),
        "gradient": f"norm {parity.gradient_norm:.2g}, {parity.gradient_error:.1%} off a difference quotient",
        "cost": _cost(cost),
        "memory": _memory(cost, teacher),
    }


def _scale(teacher: Teacher) -> dict[str, str]:
    """What the teacher shows of the scale of its input, where neither the file nor the user told it."""
    if not teacher.input.bounds.assumed:
        return {}
    return {"scale": str(probe_scale(teacher.module, teacher.input) or "its answers do not tell")}


def _cost(cost: Cost) -> str:
    times = f"{cost.forward_ms:.3g} ms forward, {cost.gradient_ms:.3g} ms with the gradient"
    return f"{cost.multiply_adds:,} multiply-adds a sample; {times}, in batches of {cost.batch}"


def _memory(cost: Cost, teacher: Teacher) -> str:
    samples = RoundSettings().samples
    # A student grown down starts as large as its teacher.
    part = samples_at_once(torch.device("cpu"), 2 * cost.activation_bytes, samples)
    # Gradient, step, bounds and the sample itself.
    each = cost.activation_bytes + 4 * 4 * math.prod(teacher.input.shape)
    total = (part or samples) * each + teacher.file.bytes
    of = (
        f"a round's {samples} samples" if part is None else f"{part} of a round's {samples} samples at a time"
    )
    return f"about {total / 1e6:,.0f} MB for the gradients of {of}"


def find_difference(path: Path, config: Config) -> tuple[dict[str, Any], bool]:
    """Compare every inner tensor of a conversion with onnxruntime; works on teachers that parity refuses.

    Returns:
        Facts for people, and whether all tensors agree.

    Raises:
        UsageError: There is no such file.
        UnsupportedTeacherError: The file does not even convert.
    """
    file = load_model(path)
    model = open_reference(file).model
    input, output = read_signature(model, input_range=config.input_range, mean=config.mean, std=config.std)
    prepared = prepare(model, input, output)
    found = trace(prepared, input)
    facts = {
        "file": path.name,
        "compared": f"{found.nodes} inner tensors on {found.samples} kinds of samples",
        "largest difference": f"{found.largest:.1e} of the largest number of a tensor, where they agree",
        "first that differs": str(found.first)
        if found.first
        else "none: every operator agrees with onnxruntime",
    }
    return facts, found.first is None


def preview(path: Path, config: Config) -> dict[str, Any]:
    """What `compress` would do, name to value, in an order for people.

    Raises:
        UsageError: An option cannot be used as given.
        UnsupportedTeacherError: The file is not a classifier that can be distilled.
    """
    teacher = load_teacher(path, config.input_range, config.mean, config.std)
    if config.eval:
        load_evaluation(config.eval, teacher.input, teacher.output.classes)
    facts = _describe(teacher, config.prior)  # before the module moves to the device
    config = settle_size(teacher, config)
    student = choose_student(teacher, config)
    require_quantisable(teacher, student, config)
    lesson, _ = prepare_lesson(teacher, student, config)
    return facts | {
        "student": f"{student.family} of {_sized(lesson, config)}, because {student.reason}",
        "torch": str(lesson.device),
        "plan": _plan(config, lesson),
    }


def _sized(lesson: Lesson, config: Config) -> str:
    if config.max_operations is not None:
        return f"{lesson.size:,} multiply-adds"
    size = (
        f"{file_size(lesson.size)} in int8"
        if config.quantizes
        else f"{file_size(4 * lesson.size)} in float32"
    )
    return f"{lesson.size:,} parameters, about {size}"


def _plan(config: Config, lesson: Lesson) -> str:
    rounds = config.planned_rounds
    if config.method == "paper":
        return f"{rounds} sets as published, then 30 epochs"
    passes = " to ".join(f"{passes:,.0f}" for passes in sorted(set(passes_expected(lesson, rounds))))
    limit = f", or what fits into {config.max_minutes:g} minutes" if config.max_minutes else ""
    per_pass = math.prod(lesson.shape)
    return f"{rounds} rounds, about {passes} teacher passes of {per_pass:,} inputs{limit}"
