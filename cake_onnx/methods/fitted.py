"""The defaults, fitted to an input, a student and the length of a run."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn

from cake_onnx.distill import Comparable
from cake_onnx.methods.pool import is_weighed
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.training import Lesson
from cake_onnx.priors import GROUNDS, ImagePrior

POOL_OF_A_ROUND = 100
"""Samples that each round of a short run adds to the size of the pool."""
NOT_DIFFUSED = (
    "None was pushed to the decision boundary: a student of dense layers alone learns more from further "
    "pictures."
)
"""What a report says where `diffuses` is False."""


def settings_for(lesson: Lesson, total: int, settings: RoundSettings) -> RoundSettings:
    """What fits the input, the length of the run and the student.

    Large inputs leave room for fewer samples, and a short run needs fewer. How pictures are chosen goes by
    the start, see `candidates_each`. A start as the teacher also asks for rates that fit the weights it has,
    and for some rounds in which channels go; a start from scratch asks for more steps. Dense layers ask for
    more pictures.
    """
    settings = spend(lesson, settings)
    fresh, lacking = fresh_each(lesson, settings), lacks_pictures(lesson)
    plain = _pool_of(lesson, settings, POOL_OF_A_ROUND * total)
    pool = _pool_of(lesson, settings, fresh * total) if lacking else plain
    bank = max(1000, min(settings.bank, settings.bank_elements // math.prod(lesson.shape)))
    refresh, candidates = min(fresh, pool // (10 if lacking else 50)), candidates_each(lesson, settings)
    # As many whether or not the teacher then chooses, which is not known before it is asked.
    asked = min(settings.asked, plain) if isinstance(lesson.prior, ImagePrior) else 0
    teaching = settings.distillation.split(parts_of_batch(lesson, total, settings))
    narrowing = settings.narrowing.over(total)
    if lesson.shrink_to is not None:
        teaching = replace(teaching, learning_rate=narrowing.learning_rate, relative=narrowing.relative)
    return replace(
        settings,
        pool=pool, bank=bank, refresh=refresh, candidates=candidates, asked=asked, distillation=teaching,
        narrowing=narrowing,
    )  # fmt: skip


def passes_expected(lesson: Lesson, rounds: int) -> tuple[float, float]:
    """Teacher passes of a run, least and most: whether kinds of pictures will be weighed is not known yet."""
    lessons = [lesson]
    if isinstance(lesson.prior, ImagePrior):
        weighed = lesson.prior.valued(torch.ones(len(lesson.prior.kinds), len(GROUNDS)))
        lessons.append(replace(lesson, prior=weighed))
    passes = [settings_for(each, rounds, RoundSettings()).passes_of(rounds) for each in lessons]
    return min(passes), max(passes)


def lacks_pictures(lesson: Lesson) -> bool:
    """Whether a student of pictures has dense layers alone.

    Where weights are shared among places, one picture teaches them much, and boundary samples add to that.
    Dense layers learnt as much or more where the passes of these went to further pictures, and more again
    where those were renewed faster, which did nothing for convolutions (docs/tried.md).
    """
    return isinstance(lesson.prior, ImagePrior) and not _has_places(lesson.student)


def diffuses(lesson: Lesson, settings: RoundSettings) -> bool:
    """Whether a student is taught on boundary samples."""
    return not lacks_pictures(lesson) if settings.diffuses is None else settings.diffuses


def fresh_each(lesson: Lesson, settings: RoundSettings) -> int:
    """Prior samples that a round adds to the pool, once it is full."""
    if not lacks_pictures(lesson):
        return settings.refresh
    return min(settings.drawn // candidates_each(lesson, settings), _most_pool(lesson, settings) // 10)


def _pool_of(lesson: Lesson, settings: RoundSettings, wanted: int) -> int:
    """Samples that the pool holds where so many are wanted."""
    return min(_most_pool(lesson, settings), max(500, wanted))


def _most_pool(lesson: Lesson, settings: RoundSettings) -> int:
    return max(500, min(settings.pool, settings.pool_elements // math.prod(lesson.shape)))


def _has_places(student: nn.Module) -> bool:
    """Whether some of its layers look at one place after another."""
    if isinstance(student, Comparable):
        return bool(student.kept)
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MultiheadAttention, nn.RNNBase)
    return any(isinstance(layer, kinds) for layer in student.modules())


def spend(lesson: Lesson, settings: RoundSettings) -> RoundSettings:
    """The settings; where no sample is diffused, what that would have cost is spent on labels of pictures."""
    if diffuses(lesson, settings):
        return settings
    steps = round(2 * settings.passes / settings.distillation.batch)
    return replace(settings, samples=0, distillation=replace(settings.distillation, steps=steps))


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
    """Pictures drawn for each that the pool takes or sees; 1 where they go as they come.

    For a student grown down the teacher chooses, unless kinds of pictures are weighed: there that loses in
    long runs. For one from scratch the pool sees them all where kinds are weighed; elsewhere choosing gains
    little or loses (docs/tried.md, Classes evened).
    """
    if not isinstance(lesson.prior, ImagePrior):
        return 1
    return settings.candidates if is_weighed(lesson.prior) is (lesson.shrink_to is None) else 1
