"""What a wish for speed leaves: onnxruntime latency and size of students at `--max-latency-ratio`.

    python benchmarks/student/latency.py --teachers DIR --only mnist_lenet5,cifar10_resnet8 --ratios 0.5

The widths of a student do not depend on what it learns, so these have learnt nothing: the teacher is cut at
once to the size that the wish came to, exported, and timed against the teacher in turns, one thread, in
processor time. One CSV line a teacher and ratio in benchmarks/results/student_latency.csv; a second start
skips it. A wish that is refused is a line too, with what would have been possible.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from time import thread_time
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "fidelity"))

from job import parameters
from ledger import append, rows
from machine import machine
from real_data import known_range

from cake_onnx.config import Config
from cake_onnx.devices import generator
from cake_onnx.errors import UsageError
from cake_onnx.graph.latency import latency_ratios
from cake_onnx.graph.runtime import open_session
from cake_onnx.methods.lesson import choose_student
from cake_onnx.methods.wishes import settle_size
from cake_onnx.pipeline import export
from cake_onnx.priors import build_prior
from cake_onnx.students.like_teacher import LikeTeacher
from cake_onnx.teacher import Teacher, load_teacher

RESULTS = Path(__file__).parents[1] / "results" / "student_latency.csv"
COLUMNS = (
    "teacher", "asked", "batch", "n", "ratio", "least", "most", "operations", "block", "parameters_teacher",
    "parameters_student", "widths", "refused", "processor", "cores", "torch", "cake_onnx",
)  # fmt: skip
_TURNS = 15


def main() -> None:
    """Measure what is not in the CSV yet."""
    options = _parse()
    manifest = json.loads((options.teachers / "manifest.json").read_text())["teachers"]
    done = {tuple(row[column] for column in COLUMNS[:3]) for row in rows(options.results)}
    for entry in manifest:
        name = Path(entry["file"]).stem
        if options.only and name not in options.only.split(","):
            continue
        for ratio in options.ratios.split(","):
            if (name, ratio, str(options.batch)) not in done:
                config = Config(
                    max_latency_ratio=float(ratio), latency_batch=options.batch, **known_range(entry)
                )
                teacher = load_teacher(
                    options.teachers / entry["file"], config.input_range, config.mean, config.std
                )
                key = dict(zip(COLUMNS, (name, ratio, options.batch), strict=False))
                append(options.results, COLUMNS, key | _measured(teacher, config) | machine())


def _measured(teacher: Teacher, config: Config) -> dict[str, Any]:
    start = {"parameters_teacher": teacher.parameters}
    try:
        settled = settle_size(teacher, config)
    except UsageError as error:
        return start | {"refused": error.found}
    student = choose_student(teacher, settled)
    module = student.module
    if not isinstance(module, LikeTeacher) or student.shrink_to is None:
        return start | {"refused": student.reason}
    draw = generator(0, "latency")
    x = build_prior("auto", teacher.input, teacher.module)[0].draw(256, draw)
    module.shrink(student.shrink_to, 1.0, module.weigh(x, draw))
    model, _ = export(teacher, student)
    mine, theirs = (open_session(each, threads=1) for each in (model, teacher.data))
    ratios = latency_ratios(
        mine, theirs, teacher.input, config.latency_batch, _TURNS, repeats=10, clock=thread_time
    )
    return start | {
        "n": len(ratios), "ratio": round(statistics.median(ratios), 3), "least": round(min(ratios), 3),
        "most": round(max(ratios), 3), "operations": round(settled.max_operations or 1.0, 4),
        "block": settled.channel_block, "parameters_student": parameters(student),
        "widths": " ".join(f"{now}" for _, _, now in module.widths_by_layer()),
    }  # fmt: skip


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", default="", help="teachers, separated by commas; default all")
    parser.add_argument("--ratios", default="0.5")
    parser.add_argument("--batch", type=int, default=64)
    return parser.parse_args()


if __name__ == "__main__":
    main()
