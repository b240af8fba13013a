"""Samples: peak memory of `cake-onnx synthesize` for ten thousand of them up to a million."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from speed.clock import Spread
from speed.lines import Line, Results

TEACHER = Path(__file__).parents[2] / "fixtures" / "digits_mlp_sklearn.onnx"
_CHILD = """
import pathlib, re, sys
from cake_onnx.cli.main import run
code = run(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""
"""Tells its own peak: what `resource` says of a child counts what its parent held when it was started."""
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
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, "synthesize", str(TEACHER), *words],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        peak = int(done.stdout.splitlines()[-1]) / 1024
        return time.perf_counter() - start, peak, path.stat().st_size / 2**20
