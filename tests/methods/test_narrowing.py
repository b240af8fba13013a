"""The rounds of a student that starts as its teacher and becomes small."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cake_onnx.config import parse_config
from cake_onnx.distill import Distillation
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.rounds import train_in_rounds
from cake_onnx.methods.settings import Narrowing, RoundSettings
from cake_onnx.methods.timing import rounds_within
from cake_onnx.methods.training import Lesson
from cake_onnx.progress import Progress
from cake_onnx.students.like_teacher import LikeTeacher
from cake_onnx.teacher import load_teacher

SMALL = RoundSettings(
    samples=20,
    pool=500,
    bank=1000,
    distillation=Distillation(steps=4, batch=64),
    narrowing=Narrowing(notches=4, samples=64),
)

NewLesson = Callable[[], Lesson]


@pytest.fixture
def grown(fixtures: Path) -> NewLesson:
    """`grown()`: a lesson whose student is the moons teacher, on its way to a third."""
    teacher = load_teacher(fixtures / "moons_mlp.onnx", (-3.0, 3.0))

    def new() -> Lesson:
        config = parse_config({"compression": 3, "device": "cpu"})
        return prepare_lesson(teacher, choose_student(teacher, config), config)[0]

    return new


def student_of(lesson: Lesson) -> LikeTeacher:
    assert isinstance(lesson.student, LikeTeacher)
    return lesson.student


def test_the_way_ends_where_it_should() -> None:
    narrowing = Narrowing(share=0.5, notches=4)
    due = [narrowing.notches_by(done / 16) for done in range(17)]
    assert due == [0, 0, 1, 1, 2, 2, 3, 3, 4, *[4] * 8]


@pytest.mark.parametrize("rounds", [1, 3, 12])
def test_the_student_has_its_size_in_the_end(grown: NewLesson, rounds: int) -> None:
    lesson = grown()
    assert lesson.shrink_to is not None
    assert student_of(lesson).size > 2 * lesson.shrink_to
    train_in_rounds(lesson, rounds, settings=SMALL)
    assert student_of(lesson).size <= lesson.shrink_to


def test_it_learns_on_the_way(grown: NewLesson) -> None:
    lesson = grown()
    settings = dataclasses.replace(SMALL, distillation=Distillation(steps=20, batch=128))
    train_in_rounds(lesson, 16, settings=settings)
    x = lesson.prior.draw(2000, torch.Generator().manual_seed(77))
    with torch.no_grad():
        same = lesson.teacher(x).argmax(1) == lesson.student(x).argmax(1)
    assert float(same.float().mean()) > 0.95


def test_a_broken_run_ends_with_the_same_bytes(grown: NewLesson, new_memory: Callable[..., Any]) -> None:
    whole, broken = grown(), grown()
    train_in_rounds(whole, 8, settings=SMALL)
    memory = new_memory()

    def stop(progress: Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_in_rounds(broken, 8, stop, memory, SMALL)
    again = grown()
    train_in_rounds(again, 8, checkpoints=memory, settings=SMALL)
    assert student_of(again).graph_bytes() == student_of(whole).graph_bytes()


def test_timing_leaves_the_student_whole(grown: NewLesson) -> None:
    lesson = grown()
    before = student_of(lesson).graph_bytes()
    rounds_within(lesson, 0.01, SMALL)
    assert student_of(lesson).graph_bytes() == before
