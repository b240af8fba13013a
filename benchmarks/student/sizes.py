"""How small a student can become: agreement, accuracy, size and latency of every teacher at several sizes.

    python benchmarks/student/sizes.py --teachers DIR --data DIR --only mnist_mlp --compressions 2,4,10,30

One CSV line a run in benchmarks/results/student_sizes.csv, appended as soon as it is known; a second start
skips it. Default student and settings; latency ratios are medians of onnxruntime on one thread, teacher and
student in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "fidelity"))

from job import Job, Taught, measured, teach
from ledger import append, rows

from cake_onnx.graph.latency import latency_ratios
from cake_onnx.graph.runtime import open_session
from cake_onnx.students.like_teacher import LikeTeacher

RESULTS = Path(__file__).parents[1] / "results" / "student_sizes.csv"
COLUMNS = (
    "teacher", "compression", "rounds", "seed", "passes", "seconds", "student", "parameters_teacher",
    "parameters_student", "bytes_teacher", "bytes_student", "latency_ratio_1", "latency_ratio_64",
    "agreement", "accuracy_teacher", "accuracy", "n", "widths", "why", "settings", "processor", "cores",
    "torch", "cake_onnx",
)  # fmt: skip
_TURNS = 7
_BATCHES = (1, 64)


def main() -> None:
    """Run what is not in the CSV yet."""
    options = _parse()
    manifest = json.loads((options.teachers / "manifest.json").read_text())["teachers"]
    entries = {Path(entry["file"]).stem: entry for entry in manifest}
    done = {tuple(row[column] for column in COLUMNS[:4]) for row in rows(options.results)}
    for name in options.only.split(",") if options.only else entries:
        for compression in options.compressions.split(","):
            if (name, compression, str(options.rounds), str(options.seed)) not in done:
                job = Job(
                    f"{name}/auto/{compression}", "rounds", "", options.rounds, options.seed, "auto", (),
                    options.teachers, options.data, entries[name], "auto", float(compression),
                )  # fmt: skip
                key = dict(zip(COLUMNS, (name, compression, options.rounds, options.seed), strict=False))
                append(options.results, COLUMNS, key | _measured(job, teach(job)))


def _measured(job: Job, taught: Taught) -> dict[str, Any]:
    of_a_job, ratios = measured(job, taught), _latency_ratios(taught)
    return {
        **{column: of_a_job[column] for column in COLUMNS if column in of_a_job},
        "bytes_teacher": taught.teacher.file.bytes, "bytes_student": len(taught.model),
        **{f"latency_ratio_{batch}": ratio for batch, ratio in ratios.items()},
        "widths": _widths(taught), "why": taught.student.reason,
    }  # fmt: skip


def _latency_ratios(taught: Taught) -> dict[int, float]:
    """How often faster the student is, by batch size: the median over turns."""
    theirs, mine = (open_session(model, threads=1) for model in (taught.teacher.file.path, taught.model))
    ratios = {
        batch: latency_ratios(theirs, mine, taught.teacher.input, batch, _TURNS, repeats=20)
        for batch in _BATCHES
    }
    return {batch: round(statistics.median(values), 2) for batch, values in ratios.items()}


def _widths(taught: Taught) -> str:
    module = taught.student.module
    if not isinstance(module, LikeTeacher):
        return ""
    return " ".join(f"{now}" for _, _, now in module.widths_by_layer())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", default="", help="teachers, separated by commas; default all")
    parser.add_argument("--compressions", default="2,4,10,30")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
