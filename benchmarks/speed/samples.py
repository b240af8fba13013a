"""Samples: peak memory of `cake-onnx synthesize` for ten thousand of them up to a million."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from speed.clock import Spread
from speed.lines import Line, Results

TEACHER = Path(__file__).parents[2] / "fixtures" / "digits_mlp_sklearn.onnx"
COUNTS = (10_000, 100_000, 1_000_000)


def measure(options: argparse.Namespace, results: Results) -> None:
    """Each count in a process of its own; the ratio is to the memory of the smallest."""
    least = 0.0
    for count in COUNTS:
        key = ("samples", TEACHER.stem, "synthesize", f"{COUNTS[0]} samples", count)
        if results.has(*key) and count != COUNTS[0]:
            continue
        seconds, peak, size = _run(count, options.device)
        least = least or peak
        note = f"{seconds:.0f} s, file of {size:.0f} MiB"
        results.add(Line(*key, 1, Spread(peak, peak, peak), "MiB", Spread.of([peak / least]), note=note))


def _run(count: int, device: str) -> tuple[float, float, float]:
    """Seconds, peak of resident memory and size of the file, both in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.npz"
        words = ["-n", str(count), "-o", str(path), "-q", "--device", device, "--input-range", "0,16"]
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "cake_onnx", "synthesize", str(TEACHER), *words], stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"`cake-onnx synthesize {' '.join(words)}` ended with {status}")
        return time.perf_counter() - start, usage.ru_maxrss / 1024, path.stat().st_size / 2**20
