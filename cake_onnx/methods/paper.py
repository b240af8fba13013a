"""CAKE as published (Braun, Mundt, Kersting, AISTATS 2024), and LAKE with Langevin noise.

All sets are drawn first, each from N(0, 1) to the decision boundary, labelled once; then the student is
trained on them. Kept for reproduction and as the baseline.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cake_onnx import progress as tell
from cake_onnx.bank import Bank
from cake_onnx.devices import generator
from cake_onnx.diffuse import Published, diffuse_published, draw_wanted
from cake_onnx.distill import Apprentice, PublishedDistillation, apprentice_as_published, learn_epoch
from cake_onnx.methods.training import Checkpoints, Lesson, NoCheckpoints, Point, Training


def train_as_published(
    lesson: Lesson,
    settings: Published,
    report: tell.Report = tell.silent,
    checkpoints: Checkpoints | None = None,
    learning: PublishedDistillation | None = None,
) -> Training:
    """Draw all sets, then train the student on them.

    Args:
        lesson: Teacher, student, prior (its penalty is the prior term) and the rest.
        settings: Sets, steps, schedule and weights.
        report: Called at every set and epoch.
        checkpoints: Where the state is left between them.
        learning: The student's training.

    Raises:
        RunFailedError: Numbers overflowed.
        KeyboardInterrupt: `report` asked to stop; the state was saved.
    """
    checkpoints, learning = checkpoints or NoCheckpoints(), learning or PublishedDistillation()
    state = _State(lesson, settings, learning, checkpoints)
    for index in range(state.sets_done, settings.sets):
        state.announce(report, tell.Progress("diffuse", index, settings.sets))
        state.add_set(index)
    for epoch in range(len(state.curve), learning.epochs):
        state.announce(report, tell.Progress("distil", epoch, learning.epochs, state.note()))
        state.learn(epoch)
    report(tell.Progress("distil", learning.epochs, learning.epochs, state.note()))
    return Training(settings.sets, state.passes, tuple(state.curve))


class _State:
    """Sets drawn so far, the student so far, and how to save both."""

    def __init__(
        self, lesson: Lesson, settings: Published, learning: PublishedDistillation, checkpoints: Checkpoints
    ) -> None:
        self.lesson, self.settings, self.learning, self.checkpoints = lesson, settings, learning, checkpoints
        self.teacher = lesson.device.wrap(lesson.teacher)
        self.group = min(settings.group, lesson.classes)
        self.groups = max(1, settings.set_size // self.group)
        size = self.groups * self.group
        # float32, because the published samples are unbounded and are used as they are.
        self.bank = Bank(settings.sets * size, lesson.shape, torch.float32)
        self.logits = torch.zeros(settings.sets * size, lesson.classes)
        self.apprentice: Apprentice = apprentice_as_published(
            lesson.student, lesson.device.wrap(lesson.student), learning
        )
        self.curve: list[Point] = []
        saved = checkpoints.load()
        if saved is not None:
            self._restore(*saved)

    @property
    def sets_done(self) -> int:
        return len(self.bank) // (self.groups * self.group)

    @property
    def passes(self) -> float:
        return self.sets_done * self.groups * self.group * (self.settings.steps + 0.5)

    def add_set(self, index: int) -> None:
        draw = generator(self.lesson.seed, "set", 0, index)
        wanted = draw_wanted(self.groups, self.group, self.lesson.classes, draw)
        samples = diffuse_published(
            self.teacher,
            self.lesson.prior,
            self.lesson.bounds,
            wanted.to(self.lesson.device.torch_device),
            self.lesson.shape,
            self.settings,
            index,
            draw,
        )
        self.logits[len(self.bank) : len(self.bank) + len(samples)] = samples.logits.cpu()
        self.bank.add(samples.x, draw)
        self._save_if_due()

    def learn(self, epoch: int) -> None:
        draw = generator(self.lesson.seed, "epoch", 0, epoch)
        loss, agreement = learn_epoch(
            self.apprentice,
            self.bank,
            self.logits,
            self.learning,
            epoch,
            self.lesson.device.torch_device,
            draw,
        )
        self.curve.append(Point(epoch + 1, self.passes, loss, agreement))
        self._save_if_due()

    def note(self) -> str:
        return f"agreement {self.curve[-1].agreement:.1%}" if self.curve else ""

    def announce(self, report: tell.Report, progress: tell.Progress) -> None:
        try:
            report(progress)
        except KeyboardInterrupt:
            self._save()
            raise

    def _save_if_due(self) -> None:
        if self.checkpoints.due():
            self._save()

    def _save(self) -> None:
        tensors = self.apprentice.state() | {
            "bank.x": self.bank.state()["x"],
            "logits": self.logits[: len(self.bank)],
        }
        self.checkpoints.save(
            tensors, {"curve": [[p.round, p.passes, p.loss, p.agreement] for p in self.curve]}
        )

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.apprentice.restore(tensors)
        self.bank.restore({"x": tensors["bank.x"]})
        self.logits[: len(self.bank)] = tensors["logits"]
        self.curve = [Point(int(r), passes, loss, agreement) for r, passes, loss, agreement in facts["curve"]]
