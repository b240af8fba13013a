"""Step: the diffusion of a round against as many bare passes of the same networks, batch, precision, layout.

A trajectory of the default settings is 8 steps and a forward pass for the labels of its end. Bare is as many
passes of the converted teacher, each a forward pass and the gradient of the input, and nothing else. The term
of the student needs passes of the student too: full-size as at the start of a run, a quarter as in its second
half. What these cost by themselves is in `bare teacher and student`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from speed.clock import Spread, in_turns, ratios
from speed.lines import Line, Results
from speed.subjects import Logits, bare_step, configured, entries, first_round, load
from torch import Tensor

from cake_onnx.config import Config
from cake_onnx.devices import generator
from cake_onnx.diffuse import diffuse, draw_wanted
from cake_onnx.methods.rounds import Rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.teacher import Teacher

BATCH = RoundSettings().samples
_TEACHER, _BOTH = "bare teacher", "bare teacher and student"
_NONE, _FULL, _QUARTER = "no student", "student of full size", "student a quarter"


def measure(options: argparse.Namespace, results: Results) -> None:
    """All teachers of the folder."""
    for entry in entries(options.teachers, options.teacher):
        name = Path(entry["file"]).stem
        if not results.has("step", name, _NONE, _TEACHER, BATCH):
            config = configured(entry, options.device)
            _measure_one(name, load(options.teachers, entry, config), config, options.turns, results)


def _measure_one(name: str, teacher: Teacher, config: Config, turns: int, results: Results) -> None:
    rounds = first_round(teacher, config)
    start = rounds.pool.draw(BATCH, generator(0, "speed"))
    points = _points(rounds, start)
    runs: dict[str, Callable[[], object]] = {
        _TEACHER: lambda: _bare(rounds, points, None),
        _NONE: lambda: _diffused(rounds, start, None),
    }
    if rounds.lesson.shrink_to is None:  # a family's student has its size from the start
        runs |= _with_student(rounds, start, points, _QUARTER, rounds.student)
    else:
        runs |= _with_student(rounds, start, points, _FULL, rounds.student)
        runs |= _with_student(rounds, start, points, _QUARTER, _narrowed(teacher, config))
    seconds = in_turns(runs, turns, rounds.lesson.device.torch_device)
    passes = len(start) * (rounds.settings.diffusion.steps + 0.5)
    for way, against in _pairs(seconds):
        line = Line(
            "step", name, way, against, len(start), turns,
            Spread.of([passes / value for value in seconds[way]]), "passes/s",
            ratios(seconds[way], seconds[f"{_BOTH}, {way}" if against == _BOTH else against]),
            precision=repr(rounds.lesson.device).partition(", ")[2],
        )  # fmt: skip
        results.add(line)


def _pairs(seconds: dict[str, list[float]]) -> list[tuple[str, str]]:
    ways = [way for way in (_NONE, _FULL, _QUARTER) if way in seconds]
    both = [(way, _BOTH) for way in ways if way != _NONE]
    return [(way, _TEACHER) for way in ways] + both


def _with_student(
    rounds: Rounds, start: Tensor, points: list[Tensor], way: str, student: Logits
) -> dict[str, Callable[[], object]]:
    return {
        way: lambda: _diffused(rounds, start, student),
        f"{_BOTH}, {way}": lambda: _bare(rounds, points, student),
    }


def _narrowed(teacher: Teacher, config: Config) -> Logits:
    """The student of a run that has lost what it shall lose."""
    rounds = first_round(teacher, config)
    assert rounds.lesson.shrink_to is not None
    x = rounds.pool.draw(64, generator(0, "narrow"))
    importance = rounds.apprentice.weigh(x, generator(0, "narrow"))
    rounds.apprentice.shrink(rounds.lesson.shrink_to, 1.0, importance)
    return rounds.student


def _diffused(rounds: Rounds, start: Tensor, student: Logits | None) -> None:
    lesson, settings = rounds.lesson, rounds.settings
    draw = generator(0, "step")
    group = min(settings.group, lesson.classes)
    wanted = draw_wanted(len(start) // group, group, lesson.classes, draw).to(start.device)
    diffuse(
        rounds.teacher, student, lesson.prior, lesson.bounds, start, wanted, rounds.spread,
        settings.diffusion, draw,
    )  # fmt: skip


def _points(rounds: Rounds, start: Tensor) -> list[Tensor]:
    """Where the teacher is asked on the way: what a pooling costs depends on what it is given."""
    points: list[Tensor] = []
    asked = rounds.teacher

    def noted(x: Tensor) -> Tensor:
        points.append(x.detach())
        return asked(x)

    rounds.teacher = noted
    _diffused(rounds, start, None)
    rounds.teacher = asked
    return points


def _bare(rounds: Rounds, points: list[Tensor], student: Logits | None) -> None:
    for x in points[:-1]:
        bare_step(rounds.teacher, x)
        if student is not None:
            bare_step(student, x)
    with torch.no_grad():
        rounds.teacher(points[-1])
