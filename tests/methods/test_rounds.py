from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cake_onnx.distill import Distillation
from cake_onnx.errors import RunFailedError
from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.methods import Checkpoints, NoCheckpoints
from cake_onnx.methods.rounds import Rounds, train_in_rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.timing import rounds_within
from cake_onnx.methods.training import Lesson
from cake_onnx.priors import UniformPrior, ValueRange
from cake_onnx.progress import Progress

SMALL = RoundSettings(samples=20, pool=500, bank=1000, distillation=Distillation(steps=4, batch=64))
LEARNING = dataclasses.replace(SMALL, distillation=Distillation(steps=20, batch=128, learning_rate=2e-2))

NewLesson = Callable[..., Lesson]
NewMemory = Callable[..., Any]


class StopAt:
    """Asks to stop, or breaks, when so many rounds are done."""

    def __init__(self, done: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.done, self.error = done, error
        self.seen: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)
        if progress.done == self.done:
            raise self.error


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first: nn.Module, second: nn.Module) -> bool:
    one, other = weights(first), weights(second)
    return all(torch.equal(one[name], other[name]) for name in one)


def agreement(lesson: Lesson) -> float:
    x = lesson.prior.draw(2000, torch.Generator().manual_seed(77))
    with torch.no_grad():
        return float((lesson.teacher(x).argmax(1) == lesson.student(x).argmax(1)).float().mean())


def test_a_student_learns_in_rounds(new_lesson: NewLesson) -> None:
    lesson = new_lesson()
    before, teacher = agreement(lesson), weights(lesson.teacher)
    training = train_in_rounds(lesson, 8, settings=LEARNING)
    assert before < 0.6
    assert agreement(lesson) > 0.9
    assert all(torch.equal(value, teacher[name]) for name, value in weights(lesson.teacher).items())
    assert training.rounds == 8
    assert [point.round for point in training.curve] == list(range(1, 9))
    assert training.curve[-1].loss < 0.5 * training.curve[0].loss
    assert training.curve[-1].agreement > training.curve[0].agreement


def test_same_seed_same_weights_other_seed_others(new_lesson: NewLesson) -> None:
    first, second, third = new_lesson(1), new_lesson(1), new_lesson(2)
    curves = [train_in_rounds(lesson, 3, settings=SMALL).curve for lesson in (first, second, third)]
    assert same(first.student, second.student)
    assert curves[0] == curves[1]
    assert not same(first.student, third.student)


@pytest.mark.parametrize("done", [1, 2, 4])
def test_an_interrupted_run_ends_with_the_same_bytes(
    new_lesson: NewLesson, new_memory: NewMemory, done: int
) -> None:
    whole, broken, resumed = new_lesson(), new_lesson(), new_lesson()
    curve = train_in_rounds(whole, 5, settings=SMALL).curve
    memory = new_memory()
    with pytest.raises(KeyboardInterrupt):
        train_in_rounds(broken, 5, StopAt(done), memory, SMALL)
    assert memory.saves == 1
    stop = StopAt(-1)
    torch.rand(3)  # the global generator plays no part
    assert train_in_rounds(resumed, 5, stop, memory, SMALL).curve == curve
    assert stop.seen[0].done == done, "no round is done twice"
    assert same(whole.student, resumed.student)


def test_an_interrupt_before_the_first_round_leaves_nothing(
    new_lesson: NewLesson, new_memory: NewMemory
) -> None:
    memory = new_memory()
    with pytest.raises(KeyboardInterrupt):
        train_in_rounds(new_lesson(), 5, StopAt(0), memory, SMALL)
    assert memory.load() is None


def test_a_run_that_broke_goes_on_from_the_last_due_checkpoint(
    new_lesson: NewLesson, new_memory: NewMemory
) -> None:
    whole, broken, resumed = new_lesson(), new_lesson(), new_lesson()
    train_in_rounds(whole, 6, settings=SMALL)
    memory = new_memory(every=2)
    with pytest.raises(OSError):  # noqa: PT011 - the test raised it
        train_in_rounds(broken, 6, StopAt(5, OSError), memory, SMALL)
    assert memory.saves == 2
    stop = StopAt(-1)
    train_in_rounds(resumed, 6, stop, memory, SMALL)
    assert stop.seen[0].done == 4
    assert same(whole.student, resumed.student)


def test_a_finished_run_is_not_repeated(new_lesson: NewLesson, new_memory: NewMemory) -> None:
    first, second = new_lesson(), new_lesson()
    memory = new_memory(every=1)
    training = train_in_rounds(first, 3, checkpoints=memory, settings=SMALL)
    assert train_in_rounds(second, 3, checkpoints=memory, settings=SMALL) == training
    assert same(first.student, second.student)


def test_progress_counts_every_round_once(new_lesson: NewLesson) -> None:
    stop = StopAt(-1)
    train_in_rounds(new_lesson(), 3, stop, settings=SMALL)
    assert [progress.done for progress in stop.seen] == [0, 1, 2, 3]
    assert {progress.total for progress in stop.seen} == {3}
    assert stop.seen[0].note == ""
    assert all("agreement" in progress.note for progress in stop.seen[1:])


class Counting(nn.Module):
    """A teacher that counts what it is asked: samples, and samples with a gradient."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.plain = self.moving = 0

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            self.moving += len(x)
        else:
            self.plain += len(x)
        logits: Tensor = self.inner(x)
        return logits


def test_passes_are_those_the_teacher_made(new_lesson: NewLesson) -> None:
    lesson = new_lesson()
    lesson = dataclasses.replace(lesson, teacher=Counting(lesson.teacher))
    run = Rounds(lesson, 2, SMALL)
    assert isinstance(lesson.teacher, Counting)
    lesson.teacher.plain = lesson.teacher.moving = 0
    run.play(0)
    point = run.play(1)
    assert point.passes == lesson.teacher.moving + 0.5 * lesson.teacher.plain


def test_boundary_samples_go_to_the_bank(new_lesson: NewLesson) -> None:
    lesson = new_lesson()
    run = Rounds(lesson, 3, SMALL)
    assert len(run.bank) == 0
    run.play(0)
    assert len(run.bank) == 20
    stored = run.bank.state()["x"].float()
    assert bool(((stored >= -2) & (stored <= 2)).all())
    run.play(1)
    assert len(run.bank) == 40


def test_inputs_that_half_precision_cannot_tell_apart_are_kept_whole(new_lesson: NewLesson) -> None:
    lesson = new_lesson()
    far = ValueRange(lesson.bounds.low + 1e5, lesson.bounds.high + 1e5)
    spec = InputSpec("x", (3,), "float32", "flat", Bounds((99998.0,), (100002.0,), "test", False))
    run = Rounds(dataclasses.replace(lesson, bounds=far, prior=UniformPrior(spec)), 1, SMALL)
    assert len(run.pool.state()["x"].unique()) > 100
    assert Rounds(lesson, 1, SMALL).pool.state()["x"].dtype == torch.float16


def test_without_samples_the_boundary_is_left_out(new_lesson: NewLesson) -> None:
    lesson = new_lesson()
    run = Rounds(lesson, 1, dataclasses.replace(SMALL, samples=0))
    point = run.play(0)
    assert len(run.bank) == 0
    assert point.passes == 0.5 * 4 * 64


def test_a_group_is_no_larger_than_the_classes(new_lesson: NewLesson) -> None:
    # SMALL asks for groups of 10 where the teacher has 4 classes
    run = Rounds(new_lesson(), 1, dataclasses.replace(SMALL, samples=22))
    run.play(0)
    assert len(run.bank) == 20


def test_the_pool_is_bounded_for_large_inputs_and_short_runs(new_lesson: NewLesson) -> None:
    lesson = new_lesson()
    assert len(Rounds(lesson, 1).pool) == 500
    assert len(Rounds(lesson, 30).pool) == 3000
    assert len(Rounds(lesson, 30, RoundSettings(pool_elements=2400)).pool) == 800


@pytest.mark.parametrize(("value", "found"), [(0.0, "spread of 0.0"), (float("nan"), "spread of nan")])
def test_a_teacher_that_always_says_the_same_is_refused(
    new_lesson: NewLesson, value: float, found: str
) -> None:
    lesson = new_lesson()
    for weight in lesson.teacher.parameters():
        weight.mul_(value)
    with pytest.raises(RunFailedError, match=f"{found}.*--input-range"):
        Rounds(lesson, 1, SMALL)


@pytest.mark.parametrize("shrink_to", [None, 100])
@pytest.mark.parametrize("times", [0.1, 20.0])
def test_labels_of_a_teacher_too_sure_are_softened_for_students_from_scratch(
    new_lesson: NewLesson, shrink_to: int | None, times: float
) -> None:
    lesson = dataclasses.replace(new_lesson(), shrink_to=shrink_to)
    list(lesson.teacher.parameters())[-2].mul_(times)  # the last layer's weights
    rounds = Rounds(lesson, 1, SMALL)
    soft = shrink_to is None and times > 1
    expected = float(rounds.spread) / SMALL.distillation.sharpest if soft else 1.0
    assert rounds.teaching.temperature == expected
    assert expected > 2 or not soft


def test_timing_leaves_the_student_alone(new_lesson: NewLesson) -> None:
    lesson = new_lesson()
    before = weights(lesson.student)
    assert rounds_within(lesson, 1e-9, SMALL) == 1
    assert rounds_within(lesson, 10.0, SMALL) > 10
    assert all(torch.equal(value, before[name]) for name, value in weights(lesson.student).items())


def test_no_checkpoints_keeps_nothing() -> None:
    nothing: Checkpoints = NoCheckpoints()
    nothing.save({"x": torch.zeros(1)}, {})
    assert not nothing.due()
    assert nothing.load() is None
