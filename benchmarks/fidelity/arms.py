"""What a student can be taught on, at equal teacher passes: ours and parts of it, baselines, CAKE itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cake_onnx.diffuse import Published
from cake_onnx.methods.paper import train_as_published
from cake_onnx.methods.rounds import train_in_rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.training import Lesson, Training
from cake_onnx.priors import Prior, TabularPrior, UniformPrior
from cake_onnx.priors.image import GREY_KINDS, ImagePrior, Kind
from cake_onnx.progress import Report
from cake_onnx.teacher import Teacher

PUBLISHED = ("cake", "lake")
REAL = "real"
"""The ceiling: `images` on the real samples that choices may look at; what is beside them tells how good."""

Arm = Callable[[Teacher, Lesson, int, Sequence[str], Report], Training]


def settings_with(changes: Sequence[str], settings: RoundSettings | None = None) -> RoundSettings:
    """The defaults with some of them changed, each told as `diffusion.steps=4`."""
    changed: Any = settings or RoundSettings()
    for change in changes:
        path, _, value = change.partition("=")
        changed = _with(changed, path.split("."), json.loads(value))
    assert isinstance(changed, RoundSettings)
    return changed


def _with(settings: Any, path: list[str], value: Any) -> Any:
    if len(path) > 1:
        value = _with(getattr(settings, path[0]), path[1:], value)
    return replace(settings, **{path[0]: value})


def rounds(teacher: Teacher, lesson: Lesson, total: int, changes: Sequence[str], report: Report) -> Training:
    """The method; with changes that make a round dearer there are fewer of them."""
    settings = settings_with(changes)
    total = max(1, round(total * RoundSettings().passes / settings.passes))
    return train_in_rounds(lesson, total, report, settings=settings)


def images(teacher: Teacher, lesson: Lesson, total: int, changes: Sequence[str], report: Report) -> Training:
    """No diffusion: the passes it would have taken label further samples of the prior."""
    settings = replace(settings_with(changes), diffuses=False)
    return train_in_rounds(lesson, total, report, settings=settings)


def noise(teacher: Teacher, lesson: Lesson, total: int, changes: Sequence[str], report: Report) -> Training:
    """Uniform noise within the input range, labelled by the teacher."""
    return images(teacher, replace(lesson, prior=UniformPrior(teacher.input)), total, changes, report)


def tabular(teacher: Teacher, lesson: Lesson, total: int, changes: Sequence[str], report: Report) -> Training:
    """The method, on rows of a table whatever the input is."""
    return rounds(teacher, replace(lesson, prior=TabularPrior(teacher.input)), total, changes, report)


def without(
    kind: Kind, teacher: Teacher, lesson: Lesson, total: int, changes: Sequence[str], report: Report
) -> Training:
    """The method on procedural images of all kinds but one."""
    prior = lesson.prior
    assert isinstance(prior, ImagePrior)
    others = [each for each in prior.kinds if each is not kind]
    assert 0 < len(others) < len(prior.kinds), "colour pictures are of one kind"
    fewer = ImagePrior(teacher.input, prior.image_shape, others)
    return rounds(teacher, replace(lesson, prior=fewer), total, changes, report)


class RealSamples:
    """Real samples in the place of a prior: what the data would have taught, for comparison alone."""

    name = "real"

    def __init__(self, samples: npt.NDArray[np.float32], prior: Prior) -> None:
        self._samples = torch.from_numpy(samples)
        self.project, self.augment, self.penalty = prior.project, prior.augment, prior.penalty

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """`(n, *shape)` of them, with replacement."""
        return self._samples[torch.randint(len(self._samples), (n,), generator=generator)]


def cake(teacher: Teacher, lesson: Lesson, total: int, changes: Sequence[str], report: Report) -> Training:
    """CAKE with its published settings and schedule, in as many sets as the passes allow."""
    return _published(lesson, total, report, langevin=False)


def lake(teacher: Teacher, lesson: Lesson, total: int, changes: Sequence[str], report: Report) -> Training:
    """LAKE likewise."""
    return _published(lesson, total, report, langevin=True)


def _published(lesson: Lesson, total: int, report: Report, langevin: bool) -> Training:
    one = Published()
    sets = max(1, round(total * RoundSettings().passes / (one.set_size * (one.steps + 0.5))))
    return train_as_published(lesson, replace(one, sets=sets, langevin=langevin), report)


ARMS: dict[str, Arm] = {arm.__name__: arm for arm in (rounds, images, noise, tabular, cake, lake)}
ARMS[REAL] = images
ARMS |= {f"no-{kind.__name__.removeprefix('draw_')}": partial(without, kind) for kind in GREY_KINDS}
