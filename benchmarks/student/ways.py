"""Ways to a smaller student, compared: from scratch, cut at once, cut little by little, and taught on less.

    python benchmarks/student/ways.py --teachers DIR --data DIR --only fmnist_lenet5,mnist_lenet5

Every way ends at the same number of parameters and takes the same number of teacher passes. One CSV line a
run in benchmarks/results/student_ways.csv, appended as soon as it is known; a second start skips it. The last
state is reported, never the best.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "fidelity"))

from job import COLUMNS as OF_A_JOB
from job import Build, Job, Taught, measured, teach
from runs import run_all
from scratch import found, uniform, uniform_grown_down

from cake_onnx.graph.trainable import TrainableGraph
from cake_onnx.students.like_teacher import NAME, LikeTeacher

RESULTS = Path(__file__).parents[1] / "results" / "student_ways.csv"


@dataclass(frozen=True)
class Way:
    """How a student comes about.

    Attributes:
        arm: What it is taught on, see `fidelity/arms.py`.
        settings: Defaults that are changed.
        build: What it starts as; None for the teacher grown down.
    """

    arm: str = "rounds"
    settings: tuple[str, ...] = ()
    build: Build | None = None


WAYS = {
    "scratch-uniform": Way(build=uniform),
    "scratch-found": Way(build=found),
    # All notches in one, before anything is learnt.
    "at-once": Way(settings=("narrowing.share=1e-9", "narrowing.least_rounds=0", "narrowing.notches=1")),
    "gradual": Way(),
    "gradual-uniform": Way(build=uniform_grown_down),
    "gradual-noise": Way(arm="noise"),
    "gradual-images": Way(arm="images"),
}


@dataclass(frozen=True)
class Run:
    """One line of the CSV to be."""

    teacher: str
    way: str
    compression: float
    rounds: int
    seed: int
    job: Job

    KEY: ClassVar[tuple[str, ...]] = ("teacher", "way", "compression", "rounds", "seed")

    def key(self) -> tuple[str, ...]:
        """What tells this line from others."""
        return tuple(str(getattr(self, name)) for name in self.KEY)


COLUMNS = (*Run.KEY, *(name for name in OF_A_JOB if name not in (*Job.KEY, *Run.KEY)), "widths")


def measure(run: Run) -> dict[str, Any]:
    """One line of the CSV."""
    taught = teach(run.job, WAYS[run.way].build)
    key = {name: getattr(run, name) for name in Run.KEY}
    return key | measured(run.job, taught) | {"widths": widths(taught)}


def widths(taught: Taught) -> str:
    """Channels that the layers of the student give, in the order of the graph."""
    whole, module = LikeTeacher(taught.teacher.prepared, taught.teacher.input), taught.student.module
    assert isinstance(module, TrainableGraph)
    dims = {tensor.name: tensor.dims for tensor in module.skeleton.graph.initializer}
    return " ".join(str(dims[layers.key[0]][layers.key[1]]) for layers in whole.layers)


def main() -> None:
    """Run what is not in the CSV yet, until there is nothing left or the time is up."""
    options = _parse()
    runs = list(_runs(options))
    run_all(runs, measure, options.results, COLUMNS, Run.KEY, options.workers, options.minutes)


def _runs(options: argparse.Namespace) -> Iterator[Run]:
    manifest = json.loads((options.teachers / "manifest.json").read_text())["teachers"]
    entries = {Path(entry["file"]).stem: entry for entry in manifest}
    for teacher in options.only.split(","):
        for seed in options.seeds.split(","):
            for name in options.ways.split(","):
                way = WAYS[name]
                job = Job(
                    f"{teacher}/{NAME}/{options.compression:g}", way.arm, name, options.rounds, int(seed),
                    options.device, way.settings, options.teachers, options.data, entries[teacher],
                    NAME, options.compression,
                )  # fmt: skip
                yield Run(teacher, name, options.compression, options.rounds, int(seed), job)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", required=True, help="teachers, separated by commas")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"out of {', '.join(WAYS)}")
    parser.add_argument("--compression", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1, help="runs side by side")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin nothing later")
    return parser.parse_args()


if __name__ == "__main__":
    main()
