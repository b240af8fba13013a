"""The scale of an input that nobody stated: how often it is found, and what a wrong one costs.

    python benchmarks/scale probe --teachers DIR
    python benchmarks/scale lost --teachers DIR --data DIR --only mnist_lenet5,fmnist_lenet5

`probe`: for every teacher whose range is known, what its file gives away, what would be assumed, and what
the probe of its answers guesses, each right if its span is within a factor of 2 and its middle within half a
span. Rows of factor 255 are teachers of 0 to 1 behind a division, as if they took bytes. `lost`: the student
after some rounds of samples of a range that is off by a factor, on real data from the 2,001st sample on.
One CSV line each in benchmarks/results/scale_*.csv; a finished line is skipped on a second start.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from ledger import append, rows
from machine import processor
from real_data import real_data

from cake_onnx.config import Config
from cake_onnx.graph.runtime import open_session
from cake_onnx.judge import Side
from cake_onnx.judge.comparison import asker
from cake_onnx.pipeline import compress
from cake_onnx.priors import probe_scale
from cake_onnx.teacher import Teacher, load_teacher

FOLDER = Path(__file__).parents[1] / "results"
PROBE, LOST = FOLDER / "scale_probe.csv", FOLDER / "scale_lost.csv"
FIXTURES = Path(__file__).parents[2] / "fixtures"
PROBE_COLUMNS = (
    "teacher", "factor", "true_low", "true_high", "source", "told", "taken_low", "taken_high", "taken_right",
    "quarter", "half", "most", "guess_low", "guess_high", "guess_right",
)  # fmt: skip
LOST_COLUMNS = (
    "teacher", "factor", "seed", "rounds", "passes", "agreement_real", "accuracy_teacher", "accuracy_student",
    "n_real", "agreement_held_out", "seconds", "processor",
)  # fmt: skip
SELECTION = 2000
Known = tuple[Path, tuple[float, float]]


def main() -> None:
    """Run what is not in the CSV yet."""
    options = _parse()
    torch.set_num_threads(1)
    if options.part == "probe":
        _probe(options)
    else:
        _lost(options)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("probe", "lost"))
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--also", type=_known, nargs="*", default=[], help="further files, FILE=LO,HI")
    parser.add_argument("--only", default="mnist_lenet5,fmnist_lenet5")
    parser.add_argument("--factors", default="1,0.5,2")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rounds", type=int, default=40)
    return parser.parse_args()


def _known(text: str) -> Known:
    path, _, numbers = text.rpartition("=")
    low, high = map(float, numbers.split(","))
    return Path(path), (low, high)


def _probe(options: argparse.Namespace) -> None:
    done = {(row["teacher"], row["factor"]) for row in rows(PROBE)}
    for path, true in (*_shared(options.teachers), *_shipped(), *options.also):
        teacher = load_teacher(path)
        for factor in (1, 255) if teacher.input.image_shape and true == (0, 1) else (1,):
            if (path.stem, str(factor)) not in done:
                append(PROBE, PROBE_COLUMNS, {"teacher": path.stem} | _guessed(teacher, true, factor))


def _shared(folder: Path) -> Iterator[Known]:
    for entry in json.loads((folder / "manifest.json").read_text())["teachers"]:
        low, high = entry["input_scaling"]["range"]
        yield folder / entry["file"], (float(low), float(high))


def _shipped() -> Iterator[Known]:
    for name, entry in json.loads((FIXTURES / "MANIFEST.json").read_text())["models"].items():
        low, high = entry["input"]["range"]
        yield FIXTURES / name, (float(low), float(high))


def _guessed(teacher: Teacher, true: tuple[float, float], factor: int) -> dict[str, Any]:
    guess = probe_scale(_behind(teacher.module, factor), teacher.input)
    low, high = (factor * value for value in true)
    row: dict[str, Any] = {"factor": factor, "true_low": low, "true_high": high}
    if factor == 1:
        bounds = teacher.input.bounds
        row |= {
            "source": bounds.source.partition(";")[0], "told": not bounds.assumed,
            "taken_low": round(min(bounds.low), 4), "taken_high": round(max(bounds.high), 4),
            "taken_right": _right((min(bounds.low), max(bounds.high)), (low, high)),
        }  # fmt: skip
    if guess is not None:
        row |= {name: round(getattr(guess, name), 4) for name in ("quarter", "half", "most")}
        row |= {"guess_low": guess.low, "guess_high": guess.high}
        row["guess_right"] = _right((guess.low, guess.high), (low, high))
    return row


def _behind(module: torch.nn.Module, factor: int) -> Callable[[Tensor], Tensor]:
    def divided(x: Tensor) -> Tensor:
        logits: Tensor = module(x / factor)
        return logits

    return divided


def _right(found: tuple[float, float], true: tuple[float, float]) -> bool:
    span, wanted = found[1] - found[0], true[1] - true[0]
    off = abs(sum(found) - sum(true)) / 2
    return 0.5 <= span / wanted <= 2 and off <= wanted / 2


def _lost(options: argparse.Namespace) -> None:
    done = {(row["teacher"], row["factor"], row["seed"], row["rounds"]) for row in rows(LOST)}
    entries = json.loads((options.teachers / "manifest.json").read_text())["teachers"]
    for seed in options.seeds.split(","):
        for entry in entries:
            stem = Path(entry["file"]).stem
            for factor in options.factors.split(","):
                if stem in options.only.split(",") and (stem, factor, seed, str(options.rounds)) not in done:
                    row = _student_of(entry, float(factor), int(seed), options)
                    append(LOST, LOST_COLUMNS, row | {"factor": factor})


def _student_of(
    entry: dict[str, Any], factor: float, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    path = options.teachers / entry["file"]
    low, high = (factor * value for value in entry["input_scaling"]["range"])
    start = time.perf_counter()
    result = compress(path, Config(seed=seed, rounds=options.rounds, input_range=(low, high)))
    seconds = time.perf_counter() - start
    teacher = load_teacher(path)
    x, y = real_data(entry, options.data, teacher.input.shape)
    x, y = x[SELECTION:], y[SELECTION:]
    original = Side(teacher.data, teacher.session, teacher.input, teacher.output)
    student = Side(result.model, open_session(result.model), teacher.input, teacher.output)
    both = [_decided(side, x) for side in (original, student)]
    held_out = next(entry for entry in result.report.fidelity if entry.role == "held-out")
    return {
        "teacher": path.stem, "seed": seed, "rounds": options.rounds, "passes": int(result.report.run.passes),
        "agreement_real": round(float(np.mean(both[0] == both[1])), 4),
        "accuracy_teacher": round(float(np.mean(both[0] == y)), 4),
        "accuracy_student": round(float(np.mean(both[1] == y)), 4),
        "n_real": len(x), "agreement_held_out": round(held_out.agreement, 4), "seconds": round(seconds, 1),
        "processor": processor(),
    }  # fmt: skip


def _decided(side: Side, x: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    ask = asker(side)
    return np.concatenate([ask(part).argmax(1) for part in np.split(x, range(250, len(x), 250))])


if __name__ == "__main__":
    main()
