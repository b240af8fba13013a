"""The defaults, fitted to an input, a student and the length of a run."""

from __future__ import annotations

import math
from dataclasses import replace

from cake_onnx.distill import Comparable
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.training import Lesson
from cake_onnx.priors import ImagePrior

POOL_OF_A_ROUND = 100
"""Samples that each round of a short run adds to the size of the pool."""


def settings_for(lesson: Lesson, total: int, settings: RoundSettings) -> RoundSettings:
    """What fits the input, the length of the run and the student.

    Large inputs leave room for fewer samples, and a short run needs fewer. The teacher chooses pictures for a
    student that starts as the teacher and learns from logits alone. Such a start also asks for rates that fit
    the weights it has; a start from scratch asks for more steps.
    """
    numel = math.prod(lesson.shape)
    pool = max(500, min(settings.pool, settings.pool_elements // numel, POOL_OF_A_ROUND * total))
    bank = max(1000, min(settings.bank, settings.bank_elements // numel))
    refresh, candidates = min(settings.refresh, pool // 50), candidates_each(lesson, settings)
    asked = min(settings.asked, pool) if isinstance(lesson.prior, ImagePrior) else 0
    teaching = settings.distillation.split(parts_of_batch(lesson, total, settings))
    if lesson.shrink_to is not None:
        narrowing = settings.narrowing
        teaching = replace(teaching, learning_rate=narrowing.learning_rate, relative=narrowing.relative)
    return replace(
        settings,
        pool=pool, bank=bank, refresh=refresh, candidates=candidates, asked=asked, distillation=teaching,
    )  # fmt: skip


def parts_of_batch(lesson: Lesson, total: int, settings: RoundSettings) -> int:
    """Into how many batches one is split, 1, 2, 4 and so on, so that a run has `least_steps`.

    A student lacks steps before it lacks samples, most of all from scratch: in short runs, many small batches
    teach it more than few large ones of the same samples. In long runs they teach it no more, or less.
    """
    least = (settings if lesson.shrink_to is None else settings.narrowing).least_steps
    steps, batch = total * settings.distillation.steps, settings.distillation.batch
    most, parts = batch // max(settings.smallest_batch, lesson.ranks.count), 1
    while parts * steps < least and 2 * parts <= most:
        parts *= 2
    return parts


def candidates_each(lesson: Lesson, settings: RoundSettings) -> int:
    """Pictures drawn for each that the pool takes; 1 where the teacher does not choose."""
    from_logits = lesson.shrink_to is not None and compared(lesson, settings) is None
    return settings.candidates if from_logits and isinstance(lesson.prior, ImagePrior) else 1


def compared(lesson: Lesson, settings: RoundSettings) -> Comparable | None:
    """The student, if it learns what its layers read."""
    student = lesson.student
    if settings.distillation.features and isinstance(student, Comparable) and student.kept:
        return student
    return None
