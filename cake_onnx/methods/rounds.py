"""Rounds of diffuse, bank, distil: the student is taught while the samples are still moving."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from cake_onnx import progress as tell
from cake_onnx.bank import Bank, Samples, storage_type
from cake_onnx.devices import generator
from cake_onnx.diffuse import Logits, diffuse, draw_wanted
from cake_onnx.distill import (
    Apprentice,
    Comparable,
    Distillation,
    Features,
    apprentice_for_rounds,
    learn_round,
)
from cake_onnx.errors import RunFailedError, UsageError
from cake_onnx.graph.taps import Taps
from cake_onnx.graph.trainable import TrainableGraph
from cake_onnx.losses import logit_spread
from cake_onnx.methods.fitted import settings_for
from cake_onnx.methods.pool import draw_chosen, draw_labelled, is_weighed, label, suited
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.sharing import pack
from cake_onnx.methods.training import Checkpoints, Lesson, NoCheckpoints, Point, Training
from cake_onnx.priors import ImagePrior
from cake_onnx.ranks import Ranks
from cake_onnx.students.like_teacher import LikeTeacher


class Rounds:
    """One run of the method over a lesson.

    Args:
        lesson: Teacher, student, prior and the rest.
        total: Rounds the whole run will have; the learning rate falls to 0 over them.
        settings: The defaults.
    """

    def __init__(self, lesson: Lesson, total: int, settings: RoundSettings | None = None) -> None:
        self.total, ranks = total, lesson.ranks
        settings = settings or RoundSettings()
        if isinstance(lesson.student, LikeTeacher) and not settings.narrowing.normalised:
            lesson.student.fold()
        self.features = _features(lesson, settings)
        self.teacher = lesson.device.wrap(lesson.teacher)
        lesson = _with_suited_prior(lesson, self.teacher, settings_for(lesson, total, settings).asked)
        self.lesson, self.settings = lesson, settings_for(lesson, total, settings)
        teaching = _for_rank(self.settings.distillation, ranks)
        self.student = lesson.device.wrap(lesson.student)
        self.apprentice: Apprentice = apprentice_for_rounds(
            lesson.student, self.student, self.settings.distillation, ranks
        )
        self.bank = self._empty_bank(ranks.share(self.settings.bank))
        self.pool = self._draw_pool(ranks.share(self.settings.pool))
        if isinstance(lesson.student, TrainableGraph):
            lesson.student.calibrate(self._first_of_pool())
            self._take_from_first()
        self.spread = self._spread_of_logits()
        self.teaching = self._softened(teaching)

    def play(self, index: int) -> Point:
        """Round `index`: narrow the student, diffuse a batch to the boundary, bank it, teach the student."""
        ranks = self.lesson.ranks
        draw = generator(self.lesson.seed, "round", ranks.rank, index)
        if self.lesson.shrink_to is not None:
            self._narrow(index, self.lesson.shrink_to)
        self._add_to_pool(self.pool, ranks.share(self.settings.refresh), draw)
        if self._groups:
            self.bank.add(self._diffuse(index, draw).x, draw)
        loss, agreement = learn_round(
            self.apprentice,
            self.teacher,
            self.bank,
            self.pool,
            self.lesson.prior,
            self.teaching,
            index / self.total,
            1 / self.total,
            draw,
            self.features,
        )
        return Point(index + 1, self.settings.passes_of(index + 1), loss, agreement)

    def _narrow(self, index: int, target: int) -> None:
        """Let the channels go whose time has come by the end of round `index`."""
        settings = self.settings.narrowing
        due = settings.notches_by((index + 1) / self.total)
        if due == settings.notches_by(index / self.total):
            return
        ranks = self.lesson.ranks
        draw = generator(self.lesson.seed, "narrow", ranks.rank, index)
        stores = (self.pool, self.bank) if len(self.bank) else (self.pool, self.pool)
        samples = ranks.share(min(settings.samples, self.lesson.device.part or settings.samples))
        x = torch.cat([store.draw(max(1, samples // 2), draw).float() for store in stores])
        importance = self.apprentice.weigh(x, draw)
        if ranks.first:
            self.apprentice.shrink(target, due / settings.notches, importance)
        # Decided once: what another processor rounds otherwise could make it choose other channels.
        self._take_from_first()

    def _take_from_first(self) -> None:
        """Go on with the student of the first rank."""
        ranks = self.lesson.ranks
        if ranks.count > 1:
            student = self.apprentice.state() if ranks.first else {}
            state = load(ranks.from_first(pack(student)))
            if not ranks.first:
                self.apprentice.restore(state)

    def state(self) -> dict[str, Tensor]:
        """All that a checkpoint needs beside the seed."""
        return self.apprentice.state() | {
            f"{name}.{key}": value
            for name, store in self._stores().items()
            for key, value in store.state().items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self.apprentice.restore(tensors)
        for name, store in self._stores().items():
            own = f"{name}."
            store.restore({k.removeprefix(own): v for k, v in tensors.items() if k.startswith(own)})

    def _stores(self) -> dict[str, Bank]:
        return {"bank": self.bank, "pool": self.pool}

    @property
    def _groups(self) -> int:
        """Groups that this rank diffuses in a round."""
        if not self.settings.samples:
            return 0
        return self.lesson.ranks.share(max(1, self.settings.samples // self._group))

    @property
    def _group(self) -> int:
        return min(self.settings.group, self.lesson.classes)

    def _diffuse(self, index: int, draw: torch.Generator) -> Samples:
        settings, place = self.settings, self.lesson.device.torch_device
        group, groups = self._group, self._groups
        wanted = draw_wanted(groups, group, self.lesson.classes, draw)
        # Storage in half precision may round a value at a bound to just beyond it.
        start = self.lesson.prior.project(self.pool.draw(groups * group, draw))
        _, end = diffuse(
            self.teacher,
            self.student,
            self.lesson.prior,
            self.lesson.bounds,
            start,
            wanted.to(place),
            self.spread,
            settings.diffusion,
            draw,
            index,
        )
        return end

    def _empty_bank(self, capacity: int) -> Bank:
        bounds = self.lesson.bounds
        kind, place = storage_type(bounds.low, bounds.high), self.lesson.device.torch_device
        return Bank(capacity, self.lesson.shape, kind, place)

    def _draw_pool(self, size: int) -> Bank:
        draw, pool = generator(self.lesson.seed, "pool", self.lesson.ranks.rank), self._empty_bank(size)
        elements = self.settings.candidates * math.prod(self.lesson.shape)  # drawn for each that is kept
        part = max(1, min(500, self.settings.pool_elements // elements))
        for done in range(0, size, part):
            self._add_to_pool(pool, min(part, size - done), draw)
        return pool

    def _add_to_pool(self, pool: Bank, count: int, draw: torch.Generator) -> None:
        prior, place = self.lesson.prior, self.lesson.device.torch_device
        candidates = self.settings.candidates
        if candidates == 1 or not is_weighed(prior):
            pool.add(draw_chosen(prior, self.teacher, count, candidates, place, draw), draw)
            return
        for _ in range(candidates):
            x, classes = draw_labelled(prior, self.teacher, count, place, draw)
            pool.add(x, draw, classes)

    def _first_of_pool(self) -> Tensor:
        """Up to 2,000 samples `(B, *shape)`."""
        return self.pool.state()["x"][:2000].float()

    def _softened(self, settings: Distillation) -> Distillation:
        """Softer labels for a student from scratch; one that starts as the teacher gains nothing by them."""
        return settings if self.lesson.shrink_to is not None else settings.softened(float(self.spread))

    def _spread_of_logits(self) -> Tensor:
        variance = logit_spread(label(self.teacher, self._first_of_pool())).square()
        self.lesson.ranks.average([variance])
        spread = variance.sqrt()
        if not torch.isfinite(spread) or spread == 0:
            raise RunFailedError(
                "a teacher whose logits vary over the prior's samples",
                f"a spread of {spread.item()}",
                "state the input's true range with `--input-range LO,HI`",
            )
        return spread


def train_in_rounds(
    lesson: Lesson,
    total: int,
    report: tell.Report = tell.silent,
    checkpoints: Checkpoints | None = None,
    settings: RoundSettings | None = None,
) -> Training:
    """Run all rounds, from the last checkpoint if there is one.

    Raises:
        RunFailedError: Numbers overflowed.
        KeyboardInterrupt: `report` asked to stop; the state was saved.
    """
    checkpoints = checkpoints or NoCheckpoints()
    ranks, run, curve = lesson.ranks, Rounds(lesson, total, settings), list[Point]()
    saved = checkpoints.load()
    if saved is not None:
        run.restore(saved[0])
        curve = _recall(saved[1])
    for index in range(len(curve), total):
        if ranks.any(_asked_to_stop(report, tell.Progress("distil", index, total, _note(curve)))):
            # Between rounds the state is whole; in the middle of one it would not be.
            if curve:
                checkpoints.save(run.state(), _facts(curve, total, lesson))
            raise KeyboardInterrupt
        curve.append(run.play(index))
        if checkpoints.due():
            checkpoints.save(run.state(), _facts(curve, total, lesson))
    report(tell.Progress("distil", total, total, _note(curve)))
    return Training(total, curve[-1].passes, tuple(curve))


def _asked_to_stop(report: tell.Report, progress: tell.Progress) -> bool:
    try:
        report(progress)
    except KeyboardInterrupt:
        return True
    return False


def _for_rank(settings: Distillation, ranks: Ranks) -> Distillation:
    """The part of every batch that one rank sees."""
    if ranks.count > settings.batch:
        raise UsageError(
            f"at most {settings.batch} ranks, one for each sample of a batch", f"{ranks.count}", "start fewer"
        )
    return replace(settings, batch=ranks.share(settings.batch))


def _with_suited_prior(lesson: Lesson, teacher: Logits, asked: int) -> Lesson:
    """The lesson; its prior draws what the teacher, asked about so many pictures, tells apart."""
    if not isinstance(lesson.prior, ImagePrior) or not asked:
        return lesson
    draw, place = generator(lesson.seed, "kinds"), lesson.device.torch_device
    return replace(lesson, prior=suited(lesson.prior, teacher, asked, place, draw))


def _features(lesson: Lesson, settings: RoundSettings) -> Features | None:
    """What compares the layers of teacher and student, where the student has those of the teacher."""
    student = lesson.student
    if not (settings.distillation.features and isinstance(student, Comparable) and student.kept):
        return None
    return Features(Taps(lesson.teacher.get_submodule("body"), student.teacher_places), student)


def _note(curve: list[Point]) -> str:
    return f"agreement {curve[-1].agreement:.1%}" if curve else ""


def _facts(curve: list[Point], total: int, lesson: Lesson) -> dict[str, Any]:
    points = [[p.round, p.passes, p.loss, p.agreement] for p in curve]
    return {"total": total, "size": lesson.size, "block": lesson.block, "curve": points}


def _recall(facts: dict[str, Any]) -> list[Point]:
    return [Point(int(index), passes, loss, agreement) for index, passes, loss, agreement in facts["curve"]]
