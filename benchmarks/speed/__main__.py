"""How fast the method is, each claim a ratio within one run.

    python benchmarks/speed --teachers DIR --only step,ways --device auto

One line a measurement in benchmarks/results/speed.csv, appended as soon as it is known; a second start
on the same machine skips it. What is compared runs in turns, and a line tells the median, the least and the
most over the turns. Every part says in its own docstring what it measures.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:1] = [str(HERE.parent), str(HERE.parent / "conversion"), str(HERE.parents[1])]

import torch  # noqa: E402
from ledger import rows  # noqa: E402
from speed import classes, compiled, converted, samples, steps, threads, together, ways  # noqa: E402
from speed.lines import Results  # noqa: E402

from cake_onnx.devices import find_device, keep_freed_memory  # noqa: E402
from docs.speed_tables import time_to  # noqa: E402

PARTS: dict[str, Callable[[argparse.Namespace, Results], None]] = {
    "step": steps.measure,
    "ways": ways.measure,
    "compile": compiled.measure,
    "threads": threads.measure,
    "converted": converted.measure,
    "classes": classes.measure,
    "samples": samples.measure,
    "ranks": together.measure,
    "time_to": lambda options, results: _print_time_to(),
}


def main() -> None:
    """Measure what is not in the CSV yet."""
    options = _parse()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command does
    results = Results(options.results, find_device(options.device))
    for part in options.only.split(","):
        start = time.perf_counter()
        PARTS[part](options, results)
        print(f"{part}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def _print_time_to() -> None:
    """Nothing is run: the curves are those of benchmarks/fidelity."""
    for row in time_to(rows(HERE.parent / "results" / "fidelity.csv")):
        print(" | ".join(row))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder of real test images, for `ranks`")
    parser.add_argument("--only", default=",".join(PARTS), help=f"out of {', '.join(PARTS)}")
    parser.add_argument("--teacher", default="", help="names of teachers, separated by commas")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results" / "speed.csv")
    return parser.parse_args()


if __name__ == "__main__":
    main()
