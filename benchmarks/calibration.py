"""What 8-bit integers cost a classifier, by the samples that its ranges come from.

    python benchmarks/calibration.py --teachers DIR --data DIR

What `--quantize int8` does to a student, done to the float teachers of the folder, which have learnt all
there is to learn. One CSV line a teacher, kind of samples and seed in benchmarks/results/calibration.csv; a
second start skips it. Choices looked at the first 2,000 real images, which calibrate the lines called `real`;
agreement with the float file and accuracy are those of the rest. Times are taken in turns, on one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
from itertools import product
from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np
from ledger import append, rows
from machine import machine
from real_data import FloatArray, known_range, real_data

from cake_onnx.config import Config
from cake_onnx.devices import generator
from cake_onnx.graph.latency import latency_ratios
from cake_onnx.graph.quantise import quantise
from cake_onnx.graph.runtime import open_session
from cake_onnx.judge import Side, Suite, asker, compare
from cake_onnx.methods.quantising import CALIBRATED_ON
from cake_onnx.priors import Prior, UniformPrior, build_prior
from cake_onnx.synthesis import synthesize
from cake_onnx.teacher import Teacher, load_teacher

RESULTS = Path(__file__).parent / "results" / "calibration.csv"
COLUMNS = (
    "teacher", "samples", "n", "seed", "agreement_rest", "kl_rest", "accuracy_float_rest",
    "accuracy_int8_rest", "n_rest", "bytes_float", "bytes_int8", "times_as_long_1", "times_as_long_64",
    "processor", "cores", "torch", "cake_onnx",
)  # fmt: skip
KINDS = ("prior", "boundary", "noise", "real")
_TURNS = 15


def main() -> None:
    """Measure what is not in the CSV yet."""
    options = _parse()
    manifest = json.loads((options.teachers / "manifest.json").read_text())["teachers"]
    for entry in manifest:
        name, known = Path(entry["file"]).stem, known_range(entry)
        teacher = load_teacher(options.teachers / entry["file"], **known)
        if teacher.quantised or name not in (options.only or [name]):
            continue
        x, y = real_data(entry, options.data, teacher.input.shape)
        chosen = min(2000, len(x) // 3)
        for kind, seed in product(KINDS, options.seeds):
            done = {(row["teacher"], row["samples"], row["seed"]) for row in rows(options.results)}
            if (name, kind, str(seed)) in done or (kind == "real" and seed):
                continue
            calibration = x[:chosen] if kind == "real" else _drawn(kind, teacher, Config(seed=seed, **known))
            told = {"teacher": name, "samples": kind, "n": len(calibration), "seed": seed}
            measured = _measured(teacher, calibration, x[chosen:], y[chosen:])
            append(options.results, COLUMNS, told | measured | machine())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="stems of teachers")
    parser.add_argument(
        "--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1, 2]
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def _drawn(kind: str, teacher: Teacher, config: Config) -> FloatArray:
    """Samples without data: `boundary` are those that `cake-onnx synthesize` writes."""
    if kind == "boundary":
        return np.asarray(synthesize(teacher.file.path, CALIBRATED_ON, config).x.numpy())
    prior: Prior = UniformPrior(teacher.input)
    if kind == "prior":
        prior, _ = build_prior("auto", teacher.input, teacher.module)
    return np.asarray(prior.draw(CALIBRATED_ON, generator(config.seed, "calibration")).numpy())


def _measured(teacher: Teacher, calibration: FloatArray, x: FloatArray, y: np.ndarray) -> dict[str, Any]:
    before = teacher.file.path.read_bytes()
    after = quantise(before, calibration, teacher.input)
    sessions = open_session(after, threads=1), open_session(before, threads=1)
    less, more = (
        Side(model, session, teacher.input, teacher.output)
        for model, session in zip((after, before), sessions, strict=True)
    )
    compared = compare(Suite("real images", "other", x), asker(more), asker(less))
    times = {
        f"times_as_long_{batch}": round(
            statistics.median(latency_ratios(*sessions, teacher.input, batch, _TURNS, 5, 1, thread_time)), 2
        )
        for batch in (1, 64)
    }
    return {
        "agreement_rest": round(compared.agreement, 4),
        "kl_rest": round(compared.kl, 5),
        "accuracy_float_rest": round(float((compared.teacher.argmax(1) == y).mean()), 4),
        "accuracy_int8_rest": round(float((compared.student.argmax(1) == y).mean()), 4),
        "n_rest": len(x), "bytes_float": len(before), "bytes_int8": len(after),
    } | times  # fmt: skip


if __name__ == "__main__":
    main()
