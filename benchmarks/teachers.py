"""Compress every teacher of a folder with default options and measure the students on real data.

    python benchmarks/teachers.py --teachers DIR --data DIR --only mnist_lenet5 --seeds 0,1,2

One CSV line a run in benchmarks/results/teachers.csv. The baselines are the same student from the same
weights with the same number of teacher passes, all spent on labels: `noise` draws uniformly within the input
range, `prior` draws what the default prior draws. The last state is reported, never the best.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ledger import append, rows
from machine import machine
from real_data import real_data

from cake_onnx.config import Config
from cake_onnx.graph.runtime import open_session, probabilities, scores
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.rounds import train_in_rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.training import Lesson
from cake_onnx.pipeline import compress, export
from cake_onnx.priors import UniformPrior
from cake_onnx.students.sizing import choose_family
from cake_onnx.teacher import load_teacher

RESULTS = Path(__file__).parent / "results" / "teachers.csv"
COLUMNS = (
    "teacher", "arm", "seed", "minutes", "rounds", "passes", "choice", "student",
    "teacher_parameters", "student_parameters",
    "teacher_bytes", "student_bytes", "latency_ratio_1", "latency_ratio_64", "agreement_held_out",
    "agreement_real", "accuracy_teacher", "accuracy_student", "n_real", "seconds", "processor", "cores",
    "torch", "cake_onnx",
)  # fmt: skip


def main() -> None:
    """Run what is not in the CSV yet."""
    options = _parse()
    manifest = json.loads((options.teachers / "manifest.json").read_text())["teachers"]
    chosen = [e for e in manifest if not options.only or Path(e["file"]).stem in options.only.split(",")]
    for entry in chosen:
        for seed in map(int, options.seeds.split(",")):
            for arm in options.arms.split(","):
                key = (Path(entry["file"]).stem, arm, str(seed), _told(options.minutes), options.student)
                if key not in _done():
                    told = {"minutes": _told(options.minutes), "choice": options.student}
                    append(RESULTS, COLUMNS, _measure(entry, arm, seed, options) | told)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default="", help="stems of teachers, separated by commas")
    parser.add_argument("--arms", default="cake", help="out of cake, noise, prior")
    parser.add_argument("--seeds", default="0")
    parser.add_argument(
        "--student", default="auto", help="as of the command, or `family`: the nearest family, from scratch"
    )
    parser.add_argument("--minutes", type=float, default=None, help="cut the default budget to this time")
    return parser.parse_args()


def _told(minutes: float | None) -> str:
    return "" if minutes is None else f"{minutes:g}"


def _config(entry: dict[str, Any], seed: int, minutes: float | None) -> Config:
    scaling = entry["input_scaling"]
    if scaling["kind"] == "raw":
        known: dict[str, Any] = {}  # a table as it would arrive: nobody says how it is scaled
    elif scaling["kind"] == "mean_std_outside_graph":
        known = {"mean": tuple(scaling["mean"]), "std": tuple(scaling["std"])}
    else:
        known = {"input_range": tuple(scaling["range"])}
    return Config(seed=seed, max_minutes=minutes, **known)


def _measure(entry: dict[str, Any], arm: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    path, config = options.teachers / entry["file"], _config(entry, seed, options.minutes)
    teacher = load_teacher(path, config.input_range, config.mean, config.std)
    student = options.student
    if student == "family":
        student, _ = choose_family(teacher.input, teacher.traits)
    config = config.model_copy(update={"student": student})
    x, y = real_data(entry, options.data, teacher.input.shape)
    start = time.perf_counter()
    row = _compressed(path, config, x, y) if arm == "cake" else _baseline(arm, path, config, options)
    seconds = time.perf_counter() - start
    student = open_session(row.pop("model"))
    decided = []
    for session in (teacher.session, student):
        batches = [x[i : i + 250] for i in range(0, len(x), 250)]
        parts = [scores(session, teacher.input, teacher.output, batch) for batch in batches]
        decided.append(np.concatenate([probabilities(p, teacher.output.kind) for p in parts]).argmax(1))
    return row | {
        "teacher": path.stem, "arm": arm, "seed": seed, "seconds": round(seconds, 1), "n_real": len(x),
        "teacher_parameters": teacher.parameters, "teacher_bytes": teacher.file.bytes,
        "agreement_real": round(float(np.mean(decided[0] == decided[1])), 4),
        "accuracy_teacher": round(float(np.mean(decided[0] == y)), 4),
        "accuracy_student": round(float(np.mean(decided[1] == y)), 4),
    } | machine()  # fmt: skip


def _compressed(path: Path, config: Config, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    # The real data goes through --eval, as a user's would, so the pipeline itself is what is measured.
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "eval.npz"
        np.savez(data, x=x, y=y)
        result = compress(path, config.model_copy(update={"eval": data}), report=_say)
    report = result.report
    held_out = next(f for f in report.fidelity if f.role == "held-out")
    pairs = zip(report.teacher.latency, report.student.latency, strict=True)
    times = {teacher.batch: teacher.median_ms / student.median_ms for teacher, student in pairs}
    return {
        "model": result.model, "rounds": report.run.rounds, "passes": int(report.run.passes),
        "student": report.student.family,
        "student_parameters": report.student.parameters, "student_bytes": report.student.bytes,
        "agreement_held_out": round(held_out.agreement, 4),
        "latency_ratio_1": round(times.get(1, float("nan")), 2),
        "latency_ratio_64": round(times.get(64, float("nan")), 2),
    }  # fmt: skip


def _rounds_of_ours(stem: str, seed: int, minutes: str, choice: str) -> int:
    for row in rows(RESULTS):
        key = (row["teacher"], row["arm"], row["seed"], row["minutes"], row["choice"])
        if key == (stem, "cake", str(seed), minutes, choice):
            return int(row["rounds"])
    raise SystemExit(
        f"run the arm `cake` of {stem}, seed {seed}, first: a baseline takes its number of rounds"
    )


def _baseline(arm: str, path: Path, config: Config, options: argparse.Namespace) -> dict[str, Any]:
    rounds = _rounds_of_ours(path.stem, config.seed, _told(config.max_minutes), options.student)
    teacher = load_teacher(path, config.input_range, config.mean, config.std)
    student = choose_student(teacher, config)
    lesson, _ = prepare_lesson(teacher, student, config)
    if arm == "noise":
        lesson = Lesson(**{**lesson.__dict__, "prior": UniformPrior(teacher.input)})
    settings = RoundSettings(diffuses=False)
    # The rounds of the arm `cake`, so that passes are equal, not seconds.
    training = train_in_rounds(lesson, rounds, _say, settings=settings)
    model, _ = export(teacher, student)
    return {
        "model": model, "rounds": rounds, "passes": int(training.passes), "student": student.family,
        "student_parameters": student.parameters, "student_bytes": len(model),
    }  # fmt: skip


def _say(progress: Any) -> None:
    if progress.total and progress.done % max(1, progress.total // 10) == 0:
        print(
            f"  {progress.stage} {progress.done}/{progress.total} {progress.note}",
            file=sys.stderr,
            flush=True,
        )


def _done() -> set[tuple[str, str, str, str, str]]:
    return {(r["teacher"], r["arm"], r["seed"], r["minutes"], r["choice"]) for r in rows(RESULTS)}


if __name__ == "__main__":
    main()
