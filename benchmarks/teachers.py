"""Run `cake-onnx compress` on every teacher of a folder, as anybody would: what it says, and what is true.

    python benchmarks/teachers.py --teachers DIR --data DIR --minutes 10
    python benchmarks/teachers.py --teachers DIR --data DIR --rounds 5,20 --compressions 4,10

One CSV line a run in benchmarks/results/teachers.csv. No option but how the input is scaled, how long to work
and how small, and the real test data as `--eval`; what is written down stands in `report.json`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ledger import append, rows
from machine import machine
from real_data import known_range, real_data

from cake_onnx.config import flag_of

RESULTS = Path(__file__).parent / "results" / "teachers.csv"
COLUMNS = (
    "teacher", "compression", "asked", "seed", "student", "rounds", "passes", "seconds", "teacher_parameters",
    "student_parameters", "teacher_bytes", "student_bytes", "latency_ratio_1", "latency_ratio_64",
    "held-out samples", "samples at the decision boundary", "samples between classes", "fresh prior samples",
    "uniform noise", "real", "n_real", "accuracy_teacher", "accuracy_student", "processor", "cores", "torch",
    "cake_onnx",
)  # fmt: skip


def main() -> None:
    """Run what is not in the CSV yet."""
    options = _parse()
    manifest = json.loads((options.teachers / "manifest.json").read_text())["teachers"]
    lengths = [(f"{n} rounds", f"--rounds={n}") for n in options.rounds]
    lengths += [(f"{n} minutes", f"--max-minutes={n}") for n in options.minutes]
    for entry, compression, (asked, length) in product(manifest, options.compressions, lengths):
        name = Path(entry["file"]).stem
        done = {(row["teacher"], row["compression"], row["asked"]) for row in rows(options.results)}
        if name in (options.only or [name]) and (name, compression, asked) not in done:
            told = {"teacher": name, "compression": compression, "asked": asked}
            measured = _measure(entry, [length, f"--compression={compression}"], options)
            append(options.results, COLUMNS, told | measured | machine())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", type=_words, default=[], help="stems of teachers, separated by commas")
    parser.add_argument("--minutes", type=_words, default=[], help="--max-minutes of the runs")
    parser.add_argument("--rounds", type=_words, default=[], help="--rounds of the runs")
    parser.add_argument("--compressions", type=_words, default=["4"])
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not options.minutes and not options.rounds:
        parser.error("say how long to work: --minutes or --rounds")
    return options


def _words(text: str) -> list[str]:
    return text.split(",")


def _measure(entry: dict[str, Any], wishes: list[str], options: argparse.Namespace) -> dict[str, Any]:
    path = options.teachers / entry["file"]
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1:]
    x, y = real_data(entry, options.data, tuple(size.dim_value for size in shape))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        np.savez(folder / "eval.npz", x=x, y=y)
        known = [f"{flag_of(name)}={','.join(map(str, value))}" for name, value in known_range(entry).items()]
        places = [f"--eval={folder / 'eval.npz'}", f"--output={folder / 'out'}"]
        command = ["compress", str(path), *known, *wishes, *places]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "cake_onnx", *command], check=True, stdout=sys.stderr)
        seconds = time.perf_counter() - start
        report = json.loads((folder / "out" / "report.json").read_text())
    return _told(report) | {"seconds": round(seconds, 1)}


def _told(report: dict[str, Any]) -> dict[str, Any]:
    teacher, student, run, truth = (report[part] for part in ("teacher", "student", "run", "accuracy"))
    agreement = {entry["samples"]: round(entry["agreement"], 4) for entry in report["fidelity"]}
    times = [{one["batch"]: one["median_ms"] for one in model["latency"]} for model in (teacher, student)]
    return {
        "seed": run["seed"], "student": student["family"], "rounds": run["rounds"],
        "passes": int(run["passes"]),
        "teacher_parameters": teacher["parameters"], "student_parameters": student["parameters"],
        "teacher_bytes": teacher["bytes"], "student_bytes": student["bytes"],
        "latency_ratio_1": round(times[0][1] / times[1][1], 2),
        "latency_ratio_64": round(times[0][64] / times[1][64], 2),
        "real": round(truth["agreement"], 4), "n_real": truth["n"],
        "accuracy_teacher": round(truth["teacher"], 4), "accuracy_student": round(truth["student"], 4),
    } | {name: share for name, share in agreement.items() if name in COLUMNS}  # fmt: skip


if __name__ == "__main__":
    main()
