"""Sizes that people wish for, in bytes or in time, turned into sizes that a student can be built at.

Both are found by exporting candidates that have learnt nothing: their files are as large and as fast as those
of students that have.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch

from cake_onnx.config import Config
from cake_onnx.devices import generator
from cake_onnx.errors import UnsupportedTeacherError, UsageError
from cake_onnx.graph.channels import Goal
from cake_onnx.graph.export import export_student
from cake_onnx.graph.runtime import latency, open_session
from cake_onnx.judge.verdict import CPU, LATENCY_THREADS
from cake_onnx.methods.lesson import choose_student, provenance
from cake_onnx.priors import build_prior
from cake_onnx.students.like_teacher import NAME, LikeTeacher
from cake_onnx.students.sizing import choose_family, family_named, parameters_at
from cake_onnx.teacher import Teacher

_log = logging.getLogger(__name__)

_TRIES = 7
_CLOSE = 0.97
"""A student that uses this share of what it may have is large enough."""
_AIM = 0.99
_MARGIN = 1.05
_TURNS = 5
_SECONDS = 0.1
"""Of one turn of one model, about."""
_SAMPLES = 64
"""On which channels of a candidate are weighed."""


def settle_size(
    teacher: Teacher, config: Config, settled: int | None = None, provider: str | None = CPU
) -> Config:
    """The options with `compression` or `max_operations` in place of a wish.

    Args:
        teacher: Whose student it will be.
        config: Options, with a wish or without.
        settled: What an interrupted run settled on, so that this one goes on with it.
        provider: onnxruntime's name of the execution provider on which time is taken, None where it has none.

    Raises:
        UsageError: The wish cannot be fulfilled; the message says what can.
    """
    if config.max_size is None and config.max_latency_ratio is None:
        return config
    span = _span(teacher, config, "parameters" if config.max_size is not None else "operations")
    if settled is not None:
        return span.settled(settled)
    if config.max_size is not None:
        most = config.max_size
        size = _largest(span, lambda size: len(_candidate(teacher, span.settled(size))), most)
        return span.settled(_possible(size, f"{most:,} bytes", "{:,.0f} bytes", "--max-size {:.0f}"))
    if provider is None:
        raise UsageError("a provider to take time on, for --max-latency-ratio", "none", "use --compression")
    ratio, timed = config.max_latency_ratio or 1.0, _Stopwatch(teacher, config.latency_batch, provider)
    size = _largest(span, lambda size: timed.ratio(_candidate(teacher, span.settled(size))), ratio)
    what = f"{ratio:g} of the teacher's time for {config.latency_batch} samples on {provider}"
    return span.settled(_possible(size, what, "{:.2f}", "--max-latency-ratio {:.2f}"))


@dataclass(frozen=True)
class _Span:
    """Sizes that a student of this teacher can have.

    Attributes:
        low: The smallest.
        high: The largest.
        settled: The options for one of them.
    """

    low: int
    high: int
    settled: Callable[[int], Config]


@dataclass(frozen=True)
class _Impossible:
    """What the smallest student needs, which is more than was wished for."""

    needs: float


def _span(teacher: Teacher, config: Config, goal: Goal) -> _Span:
    """Of the student grown down where there is one; operations have a meaning for that one only."""
    none = dict.fromkeys(("max_size", "max_latency_ratio", "max_operations"))

    def by_parameters(size: int) -> Config:
        return config.model_copy(update={**none, "compression": teacher.parameters / (size + 0.5)})

    def by_operations(size: int) -> Config:
        return config.model_copy(update={**none, "max_operations": min(1.0, (size + 0.5) / whole)})

    if config.method == "rounds" and config.student in ("auto", NAME):
        try:
            module = LikeTeacher(teacher.prepared, teacher.input, goal)
            whole, low = module.size, module.narrowest()
        except UnsupportedTeacherError:
            if config.student == NAME:
                raise
        else:
            if goal == "operations":
                return _Span(low, whole, by_operations)
            return _Span(low, min(whole, teacher.parameters - 1), by_parameters)
    name = choose_family(teacher.input, teacher.traits)[0] if config.student == "auto" else config.student
    low = parameters_at(family_named(name), teacher.input, teacher.output.classes, 0.0)
    return _Span(low, teacher.parameters - 1, by_parameters)


def _largest(span: _Span, measure: Callable[[int], float], most: float) -> int | _Impossible:
    """The largest size found of which no more than `most` is measured, within a few tries."""
    low, high = span.low, max(span.low, span.high)
    least, largest = measure(low), measure(high)
    if least > most:
        return _Impossible(least)
    if largest <= most:
        return high
    for turn in range(_TRIES):
        # Bytes lie on a line over parameters, and time nearly so; where it does not, halving helps.
        along = (_AIM * most - least) / (largest - least) if turn % 3 < 2 else 0.5
        middle = min(high - 1, max(low + 1, round(low + along * (high - low))))
        found = measure(middle)
        _log.info("a student of size %d: %.4g of %.4g allowed", middle, found, most)
        if found > most:
            high, largest = middle, found
        else:
            low, least = middle, found
            if found >= _CLOSE * most:
                break
        if high - low < 2:
            break
    return low


def _possible(size: int | _Impossible, wish: str, number: str, option: str) -> int:
    if isinstance(size, int):
        return size
    # A little more than measured, so that the advice holds when it is measured again.
    enough = option.format(size.needs * _MARGIN)
    found = f"{number.format(size.needs)} in the smallest form"
    raise UsageError(
        f"a student of at most {wish}", found, f"ask for `{enough}` or more, or another --student"
    )


def _candidate(teacher: Teacher, config: Config) -> bytes:
    """The file of a student of this size before it learns anything."""
    student = choose_student(teacher, config)
    if student.shrink_to is not None and isinstance(student.module, LikeTeacher):
        prior, _ = build_prior(config.prior, teacher.input, teacher.module)
        draw = generator(config.seed, "candidate")
        student.module.shrink(student.shrink_to, 1.0, prior.draw(_SAMPLES, draw), draw, [])
    module, facts = student.module.eval(), provenance(teacher, student)
    fill = generator(config.seed, "fill")
    with torch.no_grad():
        for weight in module.parameters():
            # An exporter stores equal weights once, such as biases before they have learnt anything.
            weight.add_(1e-3 * torch.randn(weight.shape, generator=fill))
    return export_student(module, teacher.file.model, teacher.prepared, teacher.input, teacher.output, facts)


class _Stopwatch:
    """Times candidates against the teacher, in turns."""

    def __init__(self, teacher: Teacher, batch: int, provider: str) -> None:
        self._input, self._batch, self._provider = teacher.input, batch, provider
        self._threads = LATENCY_THREADS if provider == CPU else None
        self._teacher = open_session(teacher.data, provider, self._threads)
        once = latency(self._teacher, self._input, (batch,), repeats=3)[0]
        self._repeats = max(3, min(50, int(1000 * _SECONDS / max(1e-3, once.median_ms))))

    def ratio(self, model: bytes) -> float:
        """Time of a candidate over that of the teacher, the median over the turns."""
        student = open_session(model, self._provider, self._threads)
        ratios = []
        for _ in range(_TURNS):
            mine, theirs = (
                latency(session, self._input, (self._batch,), repeats=self._repeats, warm_up=1)[0].median_ms
                for session in (student, self._teacher)
            )
            ratios.append(mine / theirs)
        return statistics.median(ratios)
