from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.methods import timing
from cake_onnx.methods.fitted import diffuses, fresh_each, settings_for
from cake_onnx.methods.rounds import Rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.training import Lesson
from cake_onnx.priors import ImagePrior
from cake_onnx.ranks import Ranks
from cake_onnx.students import build_student
from cake_onnx.students.like_teacher import LikeTeacher
from cake_onnx.teacher import load_teacher

NewLesson = Callable[..., Lesson]
PICTURES = InputSpec("x", (1, 8, 8), "float32", "NCHW", Bounds((0.0,), (1.0,), "test", False))
DENSE = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 4))


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


@pytest.mark.parametrize(("rounds", "share"), [(1, 0.5), (10, 0.5), (16, 5 / 16), (20, 0.25), (500, 0.25)])
def test_channels_go_in_five_rounds_at_least(new_lesson: NewLesson, rounds: int, share: float) -> None:
    lesson = dataclasses.replace(new_lesson(), shrink_to=100)
    assert settings_for(lesson, rounds, RoundSettings()).narrowing.share == share


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


def of_pictures(lesson: Lesson, student: nn.Module) -> Lesson:
    return dataclasses.replace(
        lesson, prior=ImagePrior(PICTURES, (1, 8, 8)), student=student, shape=PICTURES.shape
    )


@pytest.mark.parametrize(
    ("family", "boundary"), [("mlp", False), ("cnn", True), ("resnet", True), ("vit", True)]
)
def test_only_students_of_dense_layers_alone_get_pictures_for_boundary_samples(
    new_lesson: NewLesson, family: str, boundary: bool
) -> None:
    student = build_student(family, PICTURES, 4, 8000, frozenset(), 0, 32_000)
    fitted = settings_for(of_pictures(new_lesson(), student.module), 300, RoundSettings())
    assert (fitted.samples, fitted.distillation.steps) == ((250, 30) if boundary else (0, 47))
    assert fitted.passes == pytest.approx(RoundSettings().passes, rel=0.01)


def test_a_table_has_no_pictures_to_take_instead(new_lesson: NewLesson) -> None:
    assert diffuses(new_lesson(), RoundSettings())


@pytest.mark.parametrize("asked", [True, False])
def test_who_asks_for_boundary_samples_or_for_none_is_obeyed(new_lesson: NewLesson, asked: bool) -> None:
    lesson = of_pictures(new_lesson(), DENSE)
    assert diffuses(lesson, RoundSettings(diffuses=asked)) is asked
    assert diffuses(new_lesson(), RoundSettings(diffuses=asked)) is asked


@pytest.mark.parametrize(("name", "boundary"), [("digits_cnn", True), ("moons_mlp", False)])
def test_a_teacher_grown_down_is_known_by_what_its_layers_read(
    fixtures: Path, new_lesson: NewLesson, name: str, boundary: bool
) -> None:
    teacher = load_teacher(fixtures / f"{name}.onnx", (-3.0, 3.0))
    student = LikeTeacher(teacher.prepared, teacher.input)
    assert diffuses(of_pictures(new_lesson(), student), RoundSettings()) is boundary


@pytest.mark.parametrize(("rounds", "pool", "refresh"), [(1, 2000, 200), (3, 6000, 600), (50, 20_000, 2000)])
def test_dense_layers_get_more_pictures_and_other_ones_every_round(
    new_lesson: NewLesson, rounds: int, pool: int, refresh: int
) -> None:
    fitted = settings_for(of_pictures(new_lesson(), DENSE), rounds, RoundSettings())
    assert (fitted.pool, fitted.refresh, fitted.candidates) == (pool, refresh, 1)


@pytest.mark.parametrize(("name", "pool", "refresh"), [("digits_cnn", 5000, 100), ("moons_mlp", 20_000, 400)])
def test_where_the_teacher_chooses_no_more_pictures_are_drawn(
    fixtures: Path, new_lesson: NewLesson, name: str, pool: int, refresh: int
) -> None:
    teacher = load_teacher(fixtures / f"{name}.onnx", (-3.0, 3.0))
    student = LikeTeacher(teacher.prepared, teacher.input)
    lesson = dataclasses.replace(of_pictures(new_lesson(), student), shrink_to=100)
    fitted = settings_for(lesson, 50, RoundSettings())
    assert (fitted.pool, fitted.refresh, fitted.candidates) == (pool, refresh, 5)


def test_of_large_pictures_no_more_are_drawn_or_timed_than_a_tenth_of_the_pool(new_lesson: NewLesson) -> None:
    lesson = dataclasses.replace(of_pictures(new_lesson(), DENSE), shape=(3, 64, 64))
    fitted = settings_for(lesson, 50, RoundSettings())
    assert (fitted.pool, fitted.refresh) == (1953, 195)
    assert fresh_each(lesson, RoundSettings()) == 195
