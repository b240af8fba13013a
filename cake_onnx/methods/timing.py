"""How many rounds fit into a time."""

from __future__ import annotations

import copy
import time
from dataclasses import replace

from cake_onnx.methods.rounds import POOL_OF_A_ROUND, Rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.training import Lesson

_TIMED_ROUNDS = 3


def rounds_within(lesson: Lesson, minutes: float, settings: RoundSettings | None = None) -> int:
    """How many rounds fit into a time, from timing a few on a copy of the student, which is thrown away.

    The first round warms up and is not counted, unless rounds are so slow that timing more would itself
    take a tenth of the time. The prior's pool is as large as the rounds are many, up to a size.
    """
    begin = time.perf_counter()
    trial = Rounds(_with_copied_student(lesson), 1, settings)
    pool = (time.perf_counter() - begin) * POOL_OF_A_ROUND / trial.settings.pool
    seconds: list[float] = []
    while len(seconds) <= _TIMED_ROUNDS and (not seconds or seconds[-1] < 6 * minutes):
        start = time.perf_counter()
        trial.play(len(seconds))
        # All ranks go by one clock, or they would not end together.
        seconds.append(float(lesson.ranks.from_first(str(time.perf_counter() - start).encode())))
    counted = seconds[1:] or seconds
    return max(1, int(60 * minutes / (sum(counted) / len(counted) + pool)))


def _with_copied_student(lesson: Lesson) -> Lesson:
    # At its full size, where it costs most: a student that loses channels is quicker later on.
    return replace(lesson, student=copy.deepcopy(lesson.student), shrink_to=None)
