"""Threads: the step of a teacher on all cores against one thread, in the way that the product chooses.

Only worth reading where nobody else is busy, see `load` in every line: a thread that waits for another one
which the system has put aside waits long.
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Callable

import torch
from speed.clock import Spread, in_turns, ratios
from speed.lines import Line, Results
from speed.subjects import Logits, bare_step
from speed.ways import NETWORKS, Subject, subjects

BATCH = 256
_ONE = "1 thread"


def measure(options: argparse.Namespace, results: Results) -> None:
    """All networks; nothing on a GPU or where there is one core."""
    cores = os.cpu_count() or 1
    if results.device.type != "cpu" or cores == 1:
        return
    for subject in subjects(options, options.teacher or NETWORKS):
        if not results.has("threads", subject.name, f"{cores} threads", _ONE, BATCH):
            _measure_one(subject, cores, options.turns, results)


def _measure_one(subject: Subject, cores: int, turns: int, results: Results) -> None:
    run = subject.chosen.wrap(copy.deepcopy(subject.module))
    way = f"{cores} threads"
    runs = {_ONE: _on(1, run, subject), way: _on(cores, run, subject)}
    seconds = in_turns(runs, turns, subject.x.device)
    torch.set_num_threads(1)
    line = Line(
        "threads", subject.name, way, _ONE, BATCH, turns,
        Spread.of([BATCH / value for value in seconds[way]]), "samples/s",
        ratios(seconds[way], seconds[_ONE]), precision=repr(subject.chosen).partition(", ")[2],
    )  # fmt: skip
    results.add(line)


def _on(threads: int, run: Logits, subject: Subject) -> Callable[[], object]:
    def step() -> None:
        torch.set_num_threads(threads)
        bare_step(run, subject.x[:BATCH])

    return step
