from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from cake_onnx.methods import timing
from cake_onnx.methods.fitted import settings_for
from cake_onnx.methods.rounds import Rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.training import Lesson
from cake_onnx.ranks import Ranks

NewLesson = Callable[..., Lesson]


@pytest.mark.parametrize(
    ("rounds", "steps", "batch"), [(1, 240, 32), (37, 240, 32), (75, 120, 64), (150, 60, 128), (300, 30, 256)]
)
def test_a_short_run_from_scratch_takes_smaller_batches(
    new_lesson: NewLesson, rounds: int, steps: int, batch: int
) -> None:
    defaults = RoundSettings()
    fitted = settings_for(new_lesson(), rounds, defaults)
    assert (fitted.distillation.steps, fitted.distillation.batch) == (steps, batch)
    assert fitted.passes == defaults.passes


def test_every_rank_has_a_sample_of_a_small_batch(new_lesson: NewLesson) -> None:
    lesson = dataclasses.replace(new_lesson(), ranks=Ranks(0, 100))
    assert settings_for(lesson, 1, RoundSettings()).distillation.batch == 128


@pytest.mark.parametrize(
    ("rounds", "steps", "batch"),
    [(6, 240, 32), (19, 240, 32), (20, 120, 64), (40, 60, 128), (79, 60, 128), (80, 30, 256)],
)
def test_a_student_that_starts_as_the_teacher_needs_fewer_steps(
    new_lesson: NewLesson, rounds: int, steps: int, batch: int
) -> None:
    lesson = dataclasses.replace(new_lesson(), shrink_to=100)
    fitted = settings_for(lesson, rounds, RoundSettings()).distillation
    assert (fitted.steps, fitted.batch) == (steps, batch)


def test_the_batches_that_are_timed_are_those_of_the_run(
    new_lesson: NewLesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    within, timed = {32: 100, 64: 170, 128: 200, 256: 210}, []

    def seconds(lesson: Lesson, trial: Rounds, minutes: float) -> float:
        timed.append(trial.teaching.batch)
        return 60 * minutes / (within[timed[-1]] + 0.5)

    monkeypatch.setattr(timing, "_pool_seconds", lambda *given: 0.0)
    monkeypatch.setattr(timing, "_round_seconds", seconds)
    assert timing.rounds_within(new_lesson(), 1.0) == 200
    assert timed == [32, 64, 128]
