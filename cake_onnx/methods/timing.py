"""How many rounds fit into a time."""

from __future__ import annotations

import copy
import time
from dataclasses import replace

from cake_onnx.devices import generator
from cake_onnx.methods.fitted import POOL_OF_A_ROUND, candidates_each, fresh_each, parts_of_batch, spend
from cake_onnx.methods.pool import draw_chosen
from cake_onnx.methods.rounds import Rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.training import Lesson

_TIMED_ROUNDS = 3


def rounds_within(lesson: Lesson, minutes: float, settings: RoundSettings | None = None) -> int:
    """How many rounds fit into a time, from timing a few on a copy of the student, which is thrown away.

    The fewer there are, the smaller and the dearer their batches may be, so those of the shortest run are
    timed first: where rounds are slow nothing else is to be timed.
    """
    settings = spend(lesson, settings or RoundSettings())
    trial = Rounds(_with_copied_student(lesson), 1, replace(settings, least_steps=0))
    whole, pool = trial.teaching, _pool_seconds(lesson, trial, settings)
    parts = parts_of_batch(lesson, 1, settings)
    while True:
        trial.teaching = whole.split(parts)
        rounds = max(1, int(60 * minutes / (_round_seconds(lesson, trial, minutes) + pool)))
        fitting = parts_of_batch(lesson, rounds, settings)
        if fitting >= parts:
            return rounds
        parts = fitting


def _round_seconds(lesson: Lesson, trial: Rounds, minutes: float) -> float:
    """What a round takes, on average.

    The first one warms up and is not counted, unless rounds are so slow that timing more would itself take a
    tenth of the time.
    """
    seconds: list[float] = []
    while len(seconds) <= _TIMED_ROUNDS and (not seconds or seconds[-1] < 6 * minutes):
        start = time.perf_counter()
        trial.play(len(seconds))
        # All ranks go by one clock, or they would not end together.
        seconds.append(_of_first(lesson, time.perf_counter() - start))
    counted = seconds[1:] or seconds
    return sum(counted) / len(counted)


def _pool_seconds(lesson: Lesson, trial: Rounds, settings: RoundSettings) -> float:
    """What a round adds to the pool at the start, and renews where that is dearer than in the trial.

    The prior's pool is as large as the rounds are many, up to a size.
    """
    lesson = replace(lesson, prior=trial.lesson.prior)
    candidates, fresh = candidates_each(lesson, settings), max(POOL_OF_A_ROUND, fresh_each(lesson, settings))
    times = 1 if candidates == 1 and fresh == POOL_OF_A_ROUND else 2
    count, draw = lesson.ranks.share(fresh), generator(lesson.seed, "timing")
    start = time.perf_counter()
    draw_chosen(lesson.prior, trial.teacher, count, candidates, lesson.device.torch_device, draw)
    return times * _of_first(lesson, time.perf_counter() - start)


def _of_first(lesson: Lesson, seconds: float) -> float:
    return float(lesson.ranks.from_first(str(seconds).encode()))


def _with_copied_student(lesson: Lesson) -> Lesson:
    # At its full size, where it costs most: a student that loses channels is quicker later on.
    return replace(lesson, student=copy.deepcopy(lesson.student), shrink_to=None)
