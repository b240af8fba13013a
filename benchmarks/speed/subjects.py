"""What is measured: the teachers of a folder, prepared as a run of the product prepares them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from real_data import known_range
from torch import Tensor

from cake_onnx.config import Config
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.rounds import Rounds
from cake_onnx.teacher import Teacher, load_teacher

Logits = Callable[[Tensor], Tensor]


def entries(folder: Path, only: str = "") -> Iterator[dict[str, Any]]:
    """Those of the manifest whose names are in a list, all of them where it is empty."""
    wanted = set(filter(None, only.split(",")))
    for entry in json.loads((folder / "manifest.json").read_text())["teachers"]:
        if not wanted or Path(entry["file"]).stem in wanted:
            yield entry


def configured(entry: dict[str, Any], device: str) -> Config:
    """The default options, with the input range stated as far as somebody who has the teacher knows it."""
    return Config(device=device, **known_range(entry))


def load(folder: Path, entry: dict[str, Any], config: Config) -> Teacher:
    """The teacher of an entry."""
    return load_teacher(folder / entry["file"], config.input_range, config.mean, config.std)


def first_round(teacher: Teacher, config: Config) -> Rounds:
    """The state in which a run of the default method starts, with a small pool; `teacher` is left alone."""
    teacher = replace(teacher, module=copy.deepcopy(teacher.module))
    lesson, _ = prepare_lesson(teacher, choose_student(teacher, config), config)
    return Rounds(lesson, 1)


def bare_step(run: Logits, x: Tensor) -> Tensor:
    """Forward pass and gradient of the input `(B, *shape)`: one pass of each sample."""
    point = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(run(point).sum(), point)
    return gradient
