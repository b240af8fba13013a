"""Ranks: two processes of one thread each against one, and whether their students are alike.

`torchrun --nproc-per-node N -m cake_onnx compress` of a shipped teacher, several seeds. Passes a second are
those of the report over the seconds of its training; agreement is that with the teacher on real test data, in
onnxruntime. Runs take turns; `load` tells who else was on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from speed.clock import Spread, ratios
from speed.lines import Line, Results

FIXTURES = Path(__file__).parents[2] / "fixtures"
TEACHER, DATA, RANGE = "digits_cnn", "digits_unit_test.npz", "0,1"
SEEDS, ROUNDS = 7, 60
_ONE = "1 rank"


def measure(options: argparse.Namespace, results: Results) -> None:
    """One rank and two, in turns; nothing on a GPU, of which there is one."""
    if results.device.type != "cpu" or results.has("ranks", TEACHER, "2 ranks", _ONE, ROUNDS):
        return
    speed: dict[int, list[float]] = {1: [], 2: []}
    agreement: dict[int, list[float]] = {1: [], 2: []}
    for seed in range(SEEDS):
        for count in speed:
            passes, seconds, agreed = _run(count, seed)
            speed[count].append(passes / seconds)
            agreement[count].append(100 * agreed)
    for count in speed:
        way = _ONE if count == 1 else f"{count} ranks"
        ratio = ratios(speed[1], speed[count])  # time over time is speed under speed
        results.add(
            Line("ranks", TEACHER, way, _ONE, ROUNDS, SEEDS, Spread.of(speed[count]), "passes/s", ratio)
        )
        results.add(
            Line("ranks", f"{TEACHER}, agreement", way, _ONE, ROUNDS, SEEDS, Spread.of(agreement[count]), "%")
        )


def _run(count: int, seed: int) -> tuple[float, float, float]:
    """Passes, seconds of the training, and agreement with the teacher on real data."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "compress", str(FIXTURES / f"{TEACHER}.onnx"), "--input-range", RANGE, "--rounds", str(ROUNDS),
            "--eval", str(FIXTURES / DATA), "--seed", str(seed), "--device", "cpu", "-q",
            "-o", f"{folder}/out",
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
