"""How well students do on real data, beside every baseline at the same number of teacher passes.

    python benchmarks/fidelity/run.py --teachers DIR --data DIR --rows mnist_lenet5/half/4
        --arms rounds,images,noise --rounds 100,500 --seeds 0,1,2

A row is TEACHER/STUDENT/COMPRESSION. One CSV line a run in benchmarks/results/fidelity.csv, appended as soon
as it is known; a second start skips it. The last state is reported, never the best. Choices between variants
(`--set diffusion.steps=4`) look at the first 2,000 images only; what is reported is the rest, and the whole
set beside it, since published numbers are on the whole.
"""

from __future__ import annotations

import argparse
import itertools
import json
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
    run_all(
        list(_jobs(options)), measure, options.results, COLUMNS, Job.KEY, options.workers, options.minutes
    )


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


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--rows", required=True, help="TEACHER/STUDENT/COMPRESSION, separated by commas")
    parser.add_argument("--arms", default="rounds", help=f"out of {', '.join(ARMS)}")
    parser.add_argument("--rounds", default="500", help="budgets, in rounds of the defaults")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--variant", default="", help="name of what --set changes")
    parser.add_argument("--set", action="append", default=[], help="a default to change: diffusion.steps=4")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1, help="runs side by side")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin nothing later")
    return parser.parse_args()


if __name__ == "__main__":
    main()
