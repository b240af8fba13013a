"""How well students do on real data, beside every baseline at the same number of teacher passes.

    python benchmarks/fidelity/run.py --teachers DIR --data DIR --rows mnist_lenet5/half/4
        --arms rounds,images,noise --rounds 100,500 --seeds 0,1,2

A row is TEACHER/STUDENT/COMPRESSION. One CSV line a run in benchmarks/results/fidelity.csv, appended as soon
as it is known; a second start skips it. The last state is reported, never the best. Choices between variants
(`--set diffusion.steps=4`) look at the first 2,000 images only; what is reported is the rest, and the whole
set beside it, since published numbers are on the whole.

`--plan FILE` runs many rows of different budgets: a line holds options as above, # starts a comment. With
`--workers 16 --minutes 10` they go side by side in the order of the plan, and what is not finished by then is
dropped. gpu.plan, beside this file, holds what a GPU is worth having for; small networks leave a large one
idle between their kernels, and NVIDIA's multi-process service (`nvidia-cuda-mps-control -d`) lets runs share
it.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from arms import ARMS
from job import COLUMNS, Job, measure
from runs import run_all

RESULTS = Path(__file__).parents[1] / "results" / "fidelity.csv"


def main() -> None:
    """Run what is not in the CSV yet, until there is nothing left or the time is up."""
    options = _parse()
    jobs = [job for line in _lines(options) for job in _jobs(line)]
    run_all(jobs, measure, options.results, COLUMNS, Job.KEY, options.workers, options.minutes)


def _lines(options: argparse.Namespace) -> list[argparse.Namespace]:
    """The options themselves, or those of every line of the plan, each on top of the options given."""
    if options.plan is None:
        return [options]
    words = [shlex.split(line, comments=True) for line in options.plan.read_text().splitlines()]
    return [_parser().parse_args(line, copy.copy(options)) for line in words if line]


def _jobs(options: argparse.Namespace) -> Iterator[Job]:
    manifest = json.loads((options.teachers / "manifest.json").read_text())["teachers"]
    entries = {Path(entry["file"]).stem: entry for entry in manifest}
    each = itertools.product(
        options.seeds.split(","), options.rounds.split(","), options.rows.split(","), options.arms.split(",")
    )
    for seed, rounds, row, arm in each:
        teacher, student, compression = row.split("/")
        yield Job(
            row, arm, options.variant, int(rounds), int(seed), options.device, tuple(options.set),
            options.teachers, options.data, entries[teacher], student, float(compression),
        )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--teachers", type=Path, help="folder with ONNX files and manifest.json")
    parser.add_argument("--data", type=Path, help="folder with the real test images")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--plan", type=Path, help="file whose lines are options")
    parser.add_argument("--rows", help="TEACHER/STUDENT/COMPRESSION, separated by commas")
    parser.add_argument("--arms", default="rounds", help=f"out of {', '.join(ARMS)}")
    parser.add_argument("--rounds", default="500", help="budgets, in rounds of the defaults")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--variant", default="", help="name of what --set changes")
    parser.add_argument("--set", action="append", default=[], help="a default to change: diffusion.steps=4")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1, help="runs side by side")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin nothing later")
    return parser


def _parse() -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args()
    if not (options.teachers and options.data and (options.rows or options.plan)):
        parser.error("--teachers, --data and one of --rows and --plan are needed")
    return options


if __name__ == "__main__":
    main()
