"""Compress real files that nobody here wrote, and see what becomes of each.

    python benchmarks/zoo_students.py --zoo DIR --rounds 40 --files a.onnx,b.onnx
    python benchmarks/zoo_students.py --zoo DIR --rounds 2

One CSV line a file and number of rounds in benchmarks/results/zoo_students.csv; a finished line is skipped on
a second start. Only files whose conversion is right in benchmarks/results/conversion_zoo.csv are tried. There
is no data for most of them, so agreement is that on held-out synthetic samples, uniform noise beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ledger import append, rows
from machine import processor

from cake_onnx.config import Config
from cake_onnx.errors import CakeError
from cake_onnx.pipeline import compress

RESULTS = Path(__file__).parent / "results" / "zoo_students.csv"
CONVERTED = Path(__file__).parent / "results" / "conversion_zoo.csv"
COLUMNS = (
    "file", "producer", "rounds", "outcome", "student", "teacher_parameters", "student_parameters",
    "teacher_bytes", "student_bytes", "latency_ratio_1", "agreement_held_out", "agreement_noise",
    "n_held_out", "seconds", "why", "processor",
)  # fmt: skip


def main() -> None:
    """Run what is not in the CSV yet, each file in a process of its own."""
    options = _parse()
    if options.one:
        print(json.dumps(_compressed(options.one, options.rounds)))
        return
    entries = json.loads((options.zoo / "manifest.json").read_text())
    wanted = [name for name in options.files.split(",") if name]
    for entry in entries:
        name = f"{entry['repo']}/{entry['src_path']}"
        if name not in _right() or (wanted and not any(part in name for part in wanted)):
            continue
        if (name, str(options.rounds)) not in _done():
            append(RESULTS, COLUMNS, _measure(options.zoo / entry["file"], name, entry["producer"], options))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zoo", type=Path, help="folder of ONNX files with a manifest.json")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--files", default="", help="parts of file names, separated by commas")
    parser.add_argument("--limit", type=float, default=200, help="seconds a file may take")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(path: Path, name: str, producer: str, options: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    command = [sys.executable, __file__, "--one", str(path), "--rounds", str(options.rounds)]
    row: dict[str, Any] = {"file": name, "producer": producer, "rounds": options.rounds}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, check=False)
    except subprocess.TimeoutExpired:
        return row | {"outcome": "too slow", "why": f"more than {options.limit:g} s"}
    seconds = round(time.perf_counter() - start, 1)
    row |= {"seconds": seconds, "processor": processor()}
    if done.returncode:
        return row | {"outcome": "crash", "why": done.stderr.strip().splitlines()[-1][:300]}
    told: dict[str, Any] = json.loads(done.stdout)
    return row | told


def _compressed(path: Path, rounds: int) -> dict[str, Any]:
    try:
        report = compress(path, Config(rounds=rounds)).report
    except CakeError as error:
        return {"outcome": "refused", "why": str(error)}
    told = {entry.samples: entry for entry in report.fidelity}
    held_out, noise = told["held-out samples"], told.get("uniform noise")
    pairs = zip(report.teacher.latency, report.student.latency, strict=False)
    ratios = {teacher.batch: teacher.median_ms / student.median_ms for teacher, student in pairs}
    return {
        "outcome": "student", "student": report.student.family, "why": report.student.chosen_because,
        "teacher_parameters": report.teacher.parameters, "student_parameters": report.student.parameters,
        "teacher_bytes": report.teacher.bytes, "student_bytes": report.student.bytes,
        "latency_ratio_1": round(ratios.get(1, float("nan")), 2),
        "agreement_held_out": round(held_out.agreement, 4), "n_held_out": held_out.n,
        "agreement_noise": round(noise.agreement, 4) if noise else "",
    }  # fmt: skip


def _right() -> set[str]:
    return {f"{row['repo']}/{row['path']}" for row in rows(CONVERTED) if row["outcome"] == "right"}


def _done() -> set[tuple[str, str]]:
    return {(row["file"], row["rounds"]) for row in rows(RESULTS)}


if __name__ == "__main__":
    main()
