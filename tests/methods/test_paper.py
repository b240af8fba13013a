from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cake_onnx.devices import generator
from cake_onnx.diffuse import Published, diffuse_published, draw_wanted
from cake_onnx.distill import PublishedDistillation, apprentice_as_published
from cake_onnx.methods.paper import train_as_published
from cake_onnx.methods.training import Lesson
from cake_onnx.progress import Progress

TINY = Published(sets=3, set_size=24, group=10, steps=4, w_class=10.0, w_contrast=1.0)
EPOCHS = PublishedDistillation(epochs=3, batch=16)

NewLesson = Callable[..., Lesson]
NewMemory = Callable[..., Any]


class StopAt:
    """Asks to stop at a stage when so much of it is done."""

    def __init__(self, stage: str = "", done: int = -1) -> None:
        self.stage, self.done = stage, done
        self.seen: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)
        if (progress.stage, progress.done) == (self.stage, self.done):
            raise KeyboardInterrupt


def same(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return all(torch.equal(one[name], other[name]) for name in one)


def test_same_seed_same_weights_other_seed_others(new_lesson: NewLesson) -> None:
    first, second, third = new_lesson(1), new_lesson(1), new_lesson(2)
    for lesson in (first, second, third):
        train_as_published(lesson, TINY, learning=EPOCHS)
    assert same(first.student, second.student)
    assert not same(first.student, third.student)


@pytest.mark.parametrize(
    ("stage", "done"), [("diffuse", 0), ("diffuse", 2), ("distil", 0), ("distil", 1), ("distil", 2)]
)
def test_an_interrupted_run_ends_with_the_same_bytes(
    new_lesson: NewLesson, new_memory: NewMemory, stage: str, done: int
) -> None:
    whole, broken, resumed = new_lesson(), new_lesson(), new_lesson()
    training = train_as_published(whole, TINY, learning=EPOCHS)
    memory = new_memory()
    with pytest.raises(KeyboardInterrupt):
        train_as_published(broken, TINY, StopAt(stage, done), memory, EPOCHS)
    assert memory.saves == 1
    stop = StopAt()
    assert train_as_published(resumed, TINY, stop, memory, EPOCHS) == training
    assert (stop.seen[0].stage, stop.seen[0].done) == (stage, done), "nothing is done twice"
    assert same(whole.student, resumed.student)


def test_due_checkpoints_are_kept_in_both_stages(new_lesson: NewLesson, new_memory: NewMemory) -> None:
    memory = new_memory(every=1)
    train_as_published(new_lesson(), TINY, checkpoints=memory, learning=EPOCHS)
    assert memory.saves == TINY.sets + EPOCHS.epochs


def test_the_run_is_all_sets_first_then_the_epochs(new_lesson: NewLesson) -> None:
    """The method written out: sets as `diffuse_published` gives them, labelled once, then plain epochs."""
    lesson, literal = new_lesson(3), new_lesson(3)
    training = train_as_published(lesson, TINY, learning=EPOCHS)
    drawn: list[Tensor] = []
    for index in range(3):
        draw = generator(3, "set", 0, index)
        wanted = draw_wanted(6, 4, 4, draw)  # 24 samples in groups of four, for there are four classes
        drawn.append(
            diffuse_published(
                literal.teacher, literal.prior, literal.bounds, wanted, (3,), TINY, index, draw
            ).x
        )
    x = torch.cat(drawn)
    labels = literal.teacher(x)
    apprentice = apprentice_as_published(literal.student, literal.student, EPOCHS)
    step = 0
    for epoch in range(3):
        for index in torch.randperm(72, generator=generator(3, "epoch", 0, epoch)).split(16):
            at = step / 15
            apprentice.learn(x[index], labels[index], EPOCHS.rate_at(at), momentum=EPOCHS.momentum_at(at))
            step += 1
    for ours, theirs in zip(lesson.student.parameters(), literal.student.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert training.rounds == 3
    assert training.passes == 72 * 4.5
    assert [point.round for point in training.curve] == [1, 2, 3]


def test_progress_tells_both_stages(new_lesson: NewLesson) -> None:
    stop = StopAt()
    train_as_published(new_lesson(), TINY, stop, learning=EPOCHS)
    assert [(p.stage, p.done, p.total) for p in stop.seen] == [
        ("diffuse", 0, 3), ("diffuse", 1, 3), ("diffuse", 2, 3),
        ("distil", 0, 3), ("distil", 1, 3), ("distil", 2, 3), ("distil", 3, 3),
    ]  # fmt: skip
    assert "agreement" in stop.seen[-1].note


def test_a_student_learns_as_published(new_lesson: NewLesson) -> None:
    lesson = new_lesson()
    chosen = Published(sets=8, set_size=100, group=4, steps=10, w_class=1.0, w_contrast=1e-2)
    training = train_as_published(lesson, chosen, learning=PublishedDistillation(epochs=15, batch=32))
    x = torch.randn(2000, 3, generator=generator(0, "held out"))
    with torch.no_grad():
        same_decision = lesson.teacher(x).argmax(1) == lesson.student(x).argmax(1)
    assert same_decision.float().mean() > 0.85
    assert training.curve[-1].agreement > training.curve[0].agreement
