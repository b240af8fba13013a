"""Processor time of `cake-onnx --help` and of the help of each command, in processes of their own.

    python benchmarks/help_time.py

Prints one CSV line a command and appends it to benchmarks/results/help_time.csv. Time is that of the child
process, user and system, as the kernel counts it. Other work on the machine lengthens it somewhat.
"""

from __future__ import annotations

import csv
import os
import platform
import resource
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from cake_onnx.cli.main import group
from cake_onnx.devices import processor_name

RESULTS = Path(__file__).parent / "results" / "help_time.csv"
RUNS = 20
COLUMNS = (
    "command", "n", "median_s", "min_s", "max_s", "limit_s", "processor", "cores", "python", "cake_onnx",
)  # fmt: skip
LIMIT = 0.3


def processor_seconds(words: list[str]) -> float:
    """User and system time of one run, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "cake_onnx", *words], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def measure(words: list[str]) -> dict[str, str | int | float]:
    """One line of the CSV."""
    processor_seconds(words)  # the first run may compile bytecode
    seconds = [processor_seconds(words) for _ in range(RUNS)]
    return {
        "command": " ".join(["cake-onnx", *words]), "n": RUNS,
        "median_s": round(statistics.median(seconds), 3),
        "min_s": round(min(seconds), 3), "max_s": round(max(seconds), 3), "limit_s": LIMIT,
        "processor": processor_name(), "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(), "cake_onnx": version("cake-onnx"),
    }  # fmt: skip


def main() -> None:
    """Measure all; exit with 1 if a median is above the limit."""
    rows = [measure([*name, "--help"]) for name in ([], *([name] for name in group.commands))]
    RESULTS.parent.mkdir(exist_ok=True)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(*row.values(), sep=",")
    sys.exit(any(float(row["median_s"]) > LIMIT for row in rows))


if __name__ == "__main__":
    main()
