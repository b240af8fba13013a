"""Ranks: two processes of one thread each against one, and whether their students are alike.

`torchrun --nproc-per-node N -m cake_onnx compress` of a shipped teacher and, with `--data`, of a larger one,
several seeds. Passes a second are those of the report over the seconds of its training; agreement is that
with the teacher on real test data, in onnxruntime. Runs take turns; `load` tells who else was on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from real_data import real_data
from speed.clock import Spread, ratios
from speed.lines import Line, Results
from speed.subjects import configured, entries, load

from cake_onnx.config import ROUNDS, Budget

FIXTURES = Path(__file__).parents[2] / "fixtures"
LARGER = "fmnist_lenet5"
IMAGES = 2000
_ONE = "1 rank"
_BUDGET: Budget = "small"
"""The least that the command offers; fewer rounds teach in smaller batches."""
_ROUNDS = ROUNDS["rounds"][_BUDGET]


@dataclass(frozen=True)
class _Task:
    """A teacher with its test data, and how often it is compressed."""

    teacher: Path
    data: Path
    input_range: str
    seeds: int

    @property
    def name(self) -> str:
        return self.teacher.stem


def measure(options: argparse.Namespace, results: Results) -> None:
    """One rank and two, in turns; nothing on a GPU, of which there is one."""
    if results.device.type != "cpu":
        return
    with tempfile.TemporaryDirectory() as folder:
        for task in _tasks(options, Path(folder)):
            if not results.has("ranks", task.name, "2 ranks", _ONE, _ROUNDS):
                _compare(task, results)


def _tasks(options: argparse.Namespace, folder: Path) -> Iterator[_Task]:
    yield _Task(FIXTURES / "digits_cnn.onnx", FIXTURES / "digits_unit_test.npz", "0,1", 7)
    if options.data is None:
        return
    for entry in entries(options.teachers, options.teacher or LARGER):
        teacher = load(options.teachers, entry, configured(entry, "cpu"))
        x, y = real_data(entry, options.data, teacher.input.shape)
        data = folder / f"{entry['dataset']}.npz"
        np.savez(data, x=x[:IMAGES], y=y[:IMAGES])
        low, high = entry["input_scaling"]["range"]
        yield _Task(options.teachers / entry["file"], data, f"{low},{high}", 3)


def _compare(task: _Task, results: Results) -> None:
    speed: dict[int, list[float]] = {1: [], 2: []}
    agreement: dict[int, list[float]] = {1: [], 2: []}
    for seed in range(task.seeds):
        for count in speed:
            passes, seconds, agreed = _run(task, count, seed)
            speed[count].append(passes / seconds)
            agreement[count].append(100 * agreed)
    for count in speed:
        way = _ONE if count == 1 else f"{count} ranks"
        ratio = ratios(speed[1], speed[count])  # time over time is speed under speed
        facts = (way, _ONE, _ROUNDS, task.seeds)
        results.add(Line("ranks", task.name, *facts, Spread.of(speed[count]), "passes/s", ratio))
        results.add(Line("ranks", f"{task.name}, agreement", *facts, Spread.of(agreement[count]), "%"))


def _run(task: _Task, count: int, seed: int) -> tuple[float, float, float]:
    """Passes, seconds of the training, and agreement with the teacher on real data."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "compress", str(task.teacher), "--input-range", task.input_range, "--budget", _BUDGET,
            "--eval", str(task.data), "--seed", str(seed), "--device", "cpu", "-q", "-o", f"{folder}/out",
        ]  # fmt: skip
        start = [sys.executable, "-m"]
        if count > 1:
            start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m"]
        subprocess.run(
            [*start, "cake_onnx", *words], check=True, stdout=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        report: dict[str, Any] = json.loads((Path(folder) / "out" / "report.json").read_text("utf-8"))
    real = next(entry for entry in report["fidelity"] if entry["role"] == "user")
    return report["run"]["passes"], report["run"]["seconds"]["stages"]["distil"], real["agreement"]
