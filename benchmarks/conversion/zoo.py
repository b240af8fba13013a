"""Real classifiers from elsewhere: does each become a teacher, and is it right?

    python benchmarks/conversion/zoo.py FOLDER [--only TEXT] [--limit SECONDS]

FOLDER holds ONNX files and a `manifest.json` (a list with `file`, `repo`, `src_path`, `kind`, `producer`,
`opset`, where known `onnx2torch_alone`). The files are not part of this repository; only what came of them is
written down.

The judge is written here and shares nothing with the checks of the product: onnxruntime on the bytes as
found, one sample at a time, at the raw scores where the file ends in an activation. Outcomes: `right`;
`refused`, with the reason; `wrong`, a teacher whose values differ; `crash`, anything but a refusal, the time
limit included.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, TensorProto, helper, version_converter

from cake_onnx.errors import CakeError, UnsupportedTeacherError
from cake_onnx.graph.runtime import bound_arrays
from cake_onnx.teacher import Teacher, load_teacher

RESULTS = Path(__file__).resolve().parent.parent / "results" / "conversion_zoo.csv"
_SAMPLES = 8
_BATCH = 4
_ABSOLUTE, _RELATIVE, _HALF = 1e-4, 1e-3, 2e-2
_QUANTISED = 0.25
_NEAR_TIE = 0.02
_FLOOR = 1e-6
"""Probabilities below this are compared as if they were this: the far tail is rounding."""
_STEPS = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
_SLOPE_TOLERANCE = 0.1

Array = np.ndarray
Oracle = Callable[[Array], Array]


@dataclass(frozen=True)
class Outcome:
    """What came of one file; the line of the table."""

    repo: str = ""
    path: str = ""
    kind: str = ""
    producer: str = ""
    opset: int = 0
    onnx2torch: str = ""
    outcome: str = ""
    reason: str = ""
    way: str = ""
    difference: float = float("nan")
    allowed: float = float("nan")
    top1: float = float("nan")
    batch: str = ""
    gradient: str = ""
    slope_ratio: float = float("nan")
    seconds: float = float("nan")
    seconds_with_checks: float = float("nan")
    onnxruntime: str = onnxruntime.__version__
    torch: str = torch.__version__
    machine: str = platform.machine()


def judge(path: Path) -> Outcome:
    """Load one file as the product does, and compare it with the file itself."""
    start = time.perf_counter()
    try:
        teacher = load_teacher(path)
    except UnsupportedTeacherError as error:
        return Outcome(outcome="refused", reason=_one_line(str(error), path))
    except CakeError as error:
        return Outcome(outcome="crash", reason=_one_line(f"{type(error).__name__}: {error}", path))
    checked = time.perf_counter() - start
    timed = Outcome(seconds=_conversion_seconds(teacher), seconds_with_checks=checked, way=_way(teacher))
    return _compared(teacher, path, timed)


def _conversion_seconds(teacher: Teacher) -> float:
    from cake_onnx.graph.convert import convert
    from cake_onnx.graph.prepare import prepare
    from cake_onnx.graph.reference import open_reference

    model = open_reference(teacher.file).model
    start = time.perf_counter()
    convert(prepare(model, teacher.input, teacher.output), teacher.input)
    return time.perf_counter() - start


def _way(teacher: Teacher) -> str:
    return str(getattr(teacher.module, "way", ""))


def _compared(teacher: Teacher, path: Path, so_far: Outcome) -> Outcome:
    raw, oracle = open_oracle(path, teacher)
    x = draw(teacher)
    wanted = np.concatenate([oracle(x[i : i + 1]) for i in range(len(x))])
    logits = _logits(teacher, x)
    if not np.isfinite(logits).all() or len(logits) != len(x) or logits.shape[1] != teacher.output.classes:
        return replace(so_far, outcome="wrong", reason=f"shape {logits.shape}, or not finite")
    name, found = _as_said(logits, wanted)
    loose = teacher.quantised
    half = any(
        t.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16)
        for t in teacher.file.model.graph.initializer
    )
    allowed = _ABSOLUTE + (_QUANTISED if loose else _HALF if half else _RELATIVE) * float(
        np.abs(wanted).max()
    )
    difference = float(np.abs(found - wanted).max())
    top1 = _near_agreement(found, wanted)
    batch = _batch(teacher, x, logits, allowed)
    gradient, ratio = _gradient(teacher, oracle, x, float_only=not loose, raw=raw)
    right = difference <= allowed and (not loose or top1 >= 0.95)
    reason = (
        "" if right else f"{name} differ by {difference:.3g} of {allowed:.3g} allowed, same class {top1:.0%}"
    )
    return replace(
        so_far, outcome="right" if right else "wrong", reason=reason, difference=difference, allowed=allowed,
        top1=top1, batch=batch, gradient=gradient, slope_ratio=ratio,
    )  # fmt: skip


def open_oracle(path: Path, teacher: Teacher) -> tuple[bool, Oracle]:
    """onnxruntime on the file, at the scores before a last activation where there is one (True)."""
    model = onnx.load(path)
    scores = teacher.output.scores
    model, before = _with_raw_output(model, scores)
    session = _session(model)
    inputs = session.get_inputs()
    declared = next(entry for entry in inputs if entry.name == teacher.input.name)
    dtype = np.dtype(teacher.input.dtype)

    def run(x: Array) -> Array:
        x = np.rint(x) if dtype.kind in "iu" else x
        fed = _fit(x.astype(dtype), declared.shape)
        rest = {entry.name: _blank(entry, len(fed)) for entry in inputs if entry is not declared}
        said = session.run([before or scores], {declared.name: fed, **rest})[0]
        if isinstance(said, list):
            said = np.array([list(row.values()) for row in said])
        said = np.asarray(said, dtype=np.float64)
        # The batch of a file that is tied to one is filled with copies of the sample.
        return said.reshape(fed.size // x.size, -1)[:1]

    return before is not None, run


def _blank(entry: onnxruntime.NodeArg, n: int) -> Array:
    """Zeros or empty texts for an input of which the teacher claims that the scores do not need it."""
    shape = [size if isinstance(size, int) else n for size in entry.shape]
    kind = entry.type.removeprefix("tensor(").removesuffix(")")
    names = {"string": object, "float": np.float32, "double": np.float64}
    return np.full(shape, "" if kind == "string" else 0, dtype=names.get(kind, kind))


def _fit(x: Array, shape: list[int | str | None]) -> Array:
    """One sample `(1, *shape)` as the file wants it: without batch axis, or as often as it is tied to."""
    if len(shape) == x.ndim - 1:
        return np.asarray(x[0])
    known = [(axis, size) for axis, size in enumerate(shape) if isinstance(size, int)]
    if any(axis > 0 and x.shape[axis] != size for axis, size in known):
        # The batch is not in front.
        place = next(axis for axis in range(1, x.ndim) if x.shape[1:] == _without(shape, axis))
        size = shape[place]
        times = size if isinstance(size, int) else 1
        return np.asarray(np.repeat(np.moveaxis(x, 0, place), times, axis=place))
    tied = shape[0]
    if isinstance(tied, int) and tied > 1:
        return np.repeat(x, tied, axis=0)
    return x


def _without(shape: list[int | str | None], axis: int) -> tuple[int | str | None, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _with_raw_output(model: ModelProto, scores: str) -> tuple[ModelProto, str | None]:
    """The model with the input of a last softmax or sigmoid as one more output, and its name."""
    maker = {name: node for node in model.graph.node for name in node.output}
    node = maker.get(scores)
    while node is not None and node.op_type in ("Identity", "Flatten", "Squeeze"):
        node = maker.get(node.input[0])
    if node is None or node.op_type not in ("Softmax", "LogSoftmax", "Sigmoid"):
        return model, None
    raw = node.input[0]
    if raw not in {value.name for value in model.graph.output}:
        model.graph.output.append(helper.make_empty_tensor_value_info(raw))
    return model, raw


def _session(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options)
    except Exception:  # onnxruntime's own classes share no base; the second try has the last word
        upgraded = version_converter.convert_version(model, 13)
        return onnxruntime.InferenceSession(upgraded.SerializeToString(), options)


def draw(teacher: Teacher) -> Array:
    """Half uniform in the bounds, half normal around their middle and not held to them."""
    low, high = bound_arrays(teacher.input)
    rng = np.random.default_rng(20)
    shape = (_SAMPLES // 2, *teacher.input.shape)
    uniform = rng.uniform(low, high, shape)
    normal = (low + high) / 2 + rng.standard_normal(shape) * (high - low) / 4
    if np.dtype(teacher.input.dtype).kind in "iu":
        normal = np.clip(normal, low, high)
        uniform, normal = np.rint(uniform), np.rint(normal)
    return np.concatenate([uniform, normal]).astype(np.float32)


def _logits(teacher: Teacher, x: Array) -> Array:
    with torch.no_grad():
        return np.asarray(teacher.module(torch.from_numpy(x)).double().numpy())


def _as_said(logits: Array, wanted: Array) -> tuple[str, Array]:
    """The logits as the file would say them: the spelling that comes closest, with its name."""
    z = torch.from_numpy(logits)
    probabilities = z.softmax(dim=1)
    spellings = {"logits": z, "log-probabilities": z.log_softmax(dim=1), "probabilities": probabilities}
    spellings["centred logits"] = (
        z - z.mean(dim=1, keepdim=True) + torch.from_numpy(wanted).mean(dim=1, keepdim=True)
    )
    if wanted.shape[1] == 1:
        spellings = {"one score": z[:, 1:] - z[:, :1], "one probability": probabilities[:, 1:]}
    found = {name: value.numpy() for name, value in spellings.items() if value.shape == wanted.shape}
    if not found:
        return "shapes", np.full_like(wanted, np.inf)
    name = min(found, key=lambda key: float(np.abs(found[key] - wanted).max()))
    return name, found[name]


def _near_agreement(found: Array, wanted: Array) -> float:
    """Share of samples whose best class is the best of the file, or tied with it but for two roundings."""
    if wanted.shape[1] == 1:
        threshold = 0.5 if wanted.min() >= 0 and wanted.max() <= 1 else 0.0
        return float(((found > threshold) == (wanted > threshold)).mean())
    chosen = np.take_along_axis(wanted, found.argmax(axis=1)[:, None], axis=1)[:, 0]
    return float((wanted.max(axis=1) - chosen <= _NEAR_TIE * np.abs(wanted).max()).mean())


def _batch(teacher: Teacher, x: Array, together: Array, allowed: float) -> str:
    """Whether a batch of four gives what each sample gives alone (which was compared with the file)."""
    four = _logits(teacher, x[-_BATCH:])
    alone = np.concatenate([_logits(teacher, x[i : i + 1]) for i in range(len(x) - _BATCH, len(x))])
    difference = max(float(np.abs(four - alone).max()), float(np.abs(together[-_BATCH:] - alone).max()))
    limit = max(allowed, _ABSOLUTE + _RELATIVE * float(np.abs(alone).max()))
    return "ok" if difference <= limit else f"differs by {difference:.3g}"


def _gradient(
    teacher: Teacher, oracle: Oracle, x: Array, *, float_only: bool, raw: bool
) -> tuple[str, float]:
    """Finite, not zero and, in float graphs, as steep as the file along it; the median ratio of the two."""
    if np.dtype(teacher.input.dtype).kind in "iu":
        float_only = False
    classes = teacher.output.classes
    weights = np.random.default_rng(21).standard_normal(classes)
    if not raw and teacher.output.kind != "logits":
        # Probabilities say nothing of a constant that is added to all logits.
        weights -= weights.mean()
    point = torch.from_numpy(x[:_BATCH]).requires_grad_()
    logits = teacher.module(point)
    if not logits.requires_grad:
        return "none", float("nan")
    (gradient,) = torch.autograd.grad((logits.double() @ torch.from_numpy(weights)).sum(), point)
    slopes = gradient.double().numpy()
    norms = np.sqrt((slopes.reshape(len(slopes), -1) ** 2).sum(axis=1))
    if not np.isfinite(slopes).all():
        return "not finite", float("nan")
    if not norms.any():
        return "zero", float("nan")
    ratios = [
        _ratio(teacher, oracle, x[i], slopes[i], weights, raw=raw) for i in range(len(norms)) if norms[i] > 0
    ]
    ratio = float(np.median(ratios))
    close = sum(abs(ratio - 1) <= _SLOPE_TOLERANCE for ratio in ratios) * 2 >= len(ratios)
    return ("ok" if close or not float_only else "other slope"), ratio


def _ratio(teacher: Teacher, oracle: Oracle, x: Array, slope: Array, weights: Array, *, raw: bool) -> float:
    """Slope of the file along the gradient over the gradient's own, at the step where they agree best."""
    low, high = bound_arrays(teacher.input)
    norm = float(np.linalg.norm(slope))
    width = float(np.mean(high - low)) * x.size**0.5
    direction = (slope / norm).astype(np.float64)
    ratios = []
    for step in _STEPS:
        ends = [oracle((x + sign * step * width * direction).astype(np.float32)[None]) for sign in (1, -1)]
        ahead, behind = (_in_logits(end, teacher, raw=raw) @ weights for end in ends)
        ratios.append(float(ahead[0] - behind[0]) / (2 * step * width) / norm)
    return float(min(ratios, key=lambda ratio: abs(ratio - 1)))


def _in_logits(said: Array, teacher: Teacher, *, raw: bool) -> Array:
    """Logits from what the file says, up to a constant a sample."""
    if raw or teacher.output.kind == "logits":
        return np.concatenate([-said / 2, said / 2], axis=1) if said.shape[1] == 1 else said
    p = np.concatenate([1 - said, said], axis=1) if said.shape[1] == 1 else said
    return np.asarray(np.log(np.maximum(p, _FLOOR)))


def _one_line(text: str, path: Path) -> str:
    return " ".join(text.replace(str(path.parent) + "/", "").split())[:300]


def _work(path: Path, pipe: Connection) -> None:
    try:
        pipe.send(judge(path))
    except Exception as error:  # whatever happens is the outcome
        pipe.send(Outcome(outcome="crash", reason=_one_line(f"{type(error).__name__}: {error}", path)))


def in_process(path: Path, limit: float) -> Outcome:
    """`judge` in a process of its own, which is ended when its time is over."""
    context = multiprocessing.get_context(
        "fork"
    )  # the parent has imported torch, and no session is open in it
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(path, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(limit) else Outcome(outcome="crash", reason=f"over {limit:.0f} s")
    except EOFError:
        return Outcome(outcome="crash", reason="the process died")
    finally:
        process.kill()
        process.join()


def run(folder: Path, only: str, limit: float) -> list[Outcome]:
    """Every file of the manifest whose name or kind contains `only`."""
    outcomes = []
    for entry in json.loads((folder / "manifest.json").read_text(encoding="utf-8")):
        if only not in entry["file"] and only != entry["kind"]:
            continue
        outcome = replace(
            in_process(folder / entry["file"], limit),
            repo=entry["repo"],
            path=entry["src_path"],
            kind=entry["kind"],
            producer=entry["producer"],
            opset=entry["opset"].get("ai.onnx", 0),
            onnx2torch=entry.get("onnx2torch_alone", ""),
        )
        outcomes.append(outcome)
        print(line(outcome), flush=True)
    return outcomes


def line(outcome: Outcome) -> str:
    """One file in one line."""
    parts = [f"{outcome.outcome:8} {outcome.kind:13} {outcome.repo}/{outcome.path}:"]
    if outcome.outcome in ("right", "wrong"):
        parts += [f"batch {outcome.batch}, gradient {outcome.gradient} ({outcome.slope_ratio:.2f}),"]
        parts += [f"{outcome.seconds:.2f} s, {outcome.seconds_with_checks:.2f} s checked,", outcome.way]
    return " ".join([*parts, outcome.reason])


def table(outcomes: Iterable[Outcome]) -> str:
    """Counts by kind beside onnx2torch's own, and median seconds."""
    rows: list[tuple[str, ...]] = [
        (
            "kind",
            "n",
            "right",
            "refused",
            "wrong",
            "crash",
            "batch ok",
            "gradient ok",
            "onnx2torch alone",
            "seconds",
            "with checks",
        )
    ]
    kinds = list(dict.fromkeys(outcome.kind for outcome in outcomes))
    for kind in [*kinds, "all"]:
        these = [outcome for outcome in outcomes if kind in (outcome.kind, "all")]
        counts = Counter(outcome.outcome for outcome in these)
        rows.append(
            (
                kind, str(len(these)),
                *(str(counts[name]) for name in ("right", "refused", "wrong", "crash")),
                str(sum(outcome.batch == "ok" for outcome in these)),
                str(sum(outcome.gradient == "ok" for outcome in these)),
                str(sum(outcome.onnx2torch == "pass" for outcome in these)),
                *(_median([getattr(o, name) for o in these]) for name in ("seconds", "seconds_with_checks")),
            )
        )  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    )


def _median(values: list[float]) -> str:
    known = [value for value in values if value == value]
    return f"{statistics.median(known):.3f}" if known else "-"


def write(outcomes: list[Outcome], path: Path) -> None:
    """The outcomes as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Outcome)], lineterminator="\n")
        writer.writeheader()
        for outcome in outcomes:
            row = asdict(outcome)
            writer.writerow(
                {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
            )


def main() -> None:
    """Judge a folder, print the table, write the lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="part of a file name, or a kind; nothing is written then")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds a file may take")
    given = parser.parse_args()
    torch.set_num_threads(1)
    import cake_onnx.graph.operators.registry  # noqa: F401  (so that no file pays for the import)

    outcomes = run(given.folder, given.only, given.limit)
    print(table(outcomes))
    if not given.only:
        write(outcomes, RESULTS)


if __name__ == "__main__":
    main()
