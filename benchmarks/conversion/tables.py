"""The three tables, made from the CSV files of benchmarks/results, and the page that shows them."""

from __future__ import annotations

import csv
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from cake_onnx.devices import processor_name

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"
NODES = RESULTS / "conversion_nodes.csv"
ZOO = RESULTS / "conversion_zoo.csv"
UNSEEN = RESULTS / "conversion_unseen.csv"
ARCHITECTURES = RESULTS / "conversion_architectures.csv"
PAGE = ROOT / "docs" / "conversion.md"

Table = list[tuple[str, ...]]
Record = Mapping[str, str]
OUTCOMES = ("pass", "other type", "unsupported", "wrong", "raises")
_ZOO_OUTCOMES = ("right", "refused", "wrong", "crash")


def write_csv(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    """Write records of one kind; numbers get four digits."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in record.items()})


def read_csv(path: Path) -> list[dict[str, str]]:
    """The records of a file, none where it does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def machine() -> dict[str, str | int]:
    """What every measurement depends on."""
    packages = {name: version(name) for name in ("onnx", "onnxruntime", "onnx2torch", "torch")}
    cores = len(os.sched_getaffinity(0))
    return {"processor": processor_name(), "cores": cores, "python": platform.python_version(), **packages}


def node_table(records: Sequence[Record]) -> Table:
    """Totals, then every operator with a test that does not plainly pass."""
    rows: Table = [("operator", "tests", *OUTCOMES)]
    by_name: dict[str, list[Record]] = {}
    for record in records:
        by_name.setdefault(record["operator"], []).append(record)
    summed = {name: [_sum(group, key) for key in OUTCOMES] for name, group in by_name.items()}
    rows += [
        (name, str(sum(counts)), *map(str, counts))
        for name, counts in sorted(summed.items())
        if sum(counts) != counts[0]
    ]
    total = [_sum(records, key) for key in OUTCOMES]
    alone = [_sum(records, f"onnx2torch {key}") for key in OUTCOMES]
    rows.append((f"all {len(by_name)} operators", str(sum(total)), *map(str, total)))
    rows.append(("onnx2torch alone", str(sum(alone)), *map(str, alone)))
    return rows


def zoo_table(records: Sequence[Record]) -> Table:
    """Outcomes by kind of file."""
    head = ("kind", "files", *_ZOO_OUTCOMES, "batch right", "gradient right", "onnx2torch alone")
    rows: Table = [(*head, "seconds", "with checks")]
    for kind in (*dict.fromkeys(record["kind"] for record in records), "all"):
        these = [record for record in records if kind in (record["kind"], "all")]
        counts = [sum(record["outcome"] == outcome for record in these) for outcome in _ZOO_OUTCOMES]
        usable = [sum(record[key] == "ok" for record in these) for key in ("batch", "gradient")]
        tried = any(record["onnx2torch"] for record in these)
        alone = sum(record["onnx2torch"] == "pass" for record in these) if tried else "-"
        seconds = (_median(record[key] for record in these) for key in ("seconds", "seconds_with_checks"))
        rows.append((kind, str(len(these)), *map(str, (*counts, *usable, alone)), *seconds))
    return rows


def architecture_table(records: Sequence[Record]) -> Table:
    """One row a network and exporter."""
    keys = ("network", "exporter", "opset", "nodes", "forward", "batch", "gradient", "load_s", "convert_ms")
    head = (*keys[:4], "right", *keys[4:])
    rows: Table = [(*head, "forward time", "gradient time")]
    for record in records:
        first, rest = [record[key] for key in keys[:4]], [record[key] for key in keys[4:]]
        ratios = (record["forward_ratio"], record["gradient_ratio"])
        rows.append((*first, "yes" if record["right"] == "True" else record["refusal"][:80], *rest, *ratios))
    right = sum(record["right"] == "True" for record in records)
    medians = [
        _median(record[key] for record in records) for key in (*keys[4:], "forward_ratio", "gradient_ratio")
    ]
    rows.append(("all, medians", "", "", "", f"{right} of {len(records)}", *medians))
    return rows


def as_text(table: Table) -> str:
    """Columns side by side."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def as_markdown(table: Table) -> str:
    """A table of a page."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    lines.insert(1, "|---" * len(table[0]) + "|")
    return "\n".join(lines)


def page() -> str:
    """docs/conversion.md, from the CSV files that are there."""
    parts = [_INTRODUCTION]
    for path, title, text, make in (
        (NODES, "Node tests", _NODE_TEXT, node_table),
        (ZOO, "Files from elsewhere", _ZOO_TEXT, zoo_table),
        (UNSEEN, "Files never seen before", _UNSEEN_TEXT, zoo_table),
        (ARCHITECTURES, "Architectures", _ARCHITECTURE_TEXT, architecture_table),
    ):
        records = read_csv(path)
        if records:
            parts.append(f"## {title}\n\n{text}\n\n{as_markdown(make(records))}\n\n{_conditions(records[0])}")
    return "\n\n".join(parts) + "\n"


def _conditions(record: Record) -> str:
    names = ("processor", "cores", "machine", "python", "onnx", "onnxruntime", "onnx2torch", "torch", "n")
    known = [f"{name} {record[name]}" for name in names if record.get(name)]
    return f"Measured with {', '.join(known)}." if known else ""


def _sum(records: Iterable[Record], key: str) -> int:
    return sum(int(record[key]) for record in records)


def _median(values: Iterable[str]) -> str:
    known = [float(value) for value in values if value not in ("", "nan")]
    return f"{statistics.median(known):.3g}" if known else "-"


_INTRODUCTION = """# Conversion, measured

Generated by `python benchmarks/conversion --zoo FOLDER` from the files in benchmarks/results; do not edit.
Which operators convert, in which versions, is in [operators.md](operators.md)."""

_NODE_TEXT = """onnx's own one-operator tests up to opset 23, in the form real classifiers have: every
input but one is stored as a weight, and each output is a test of its own. `other type` is right values
in another element type: whole numbers that come from rounding are carried as floats, and float16 is
computed in float32. Only operators are listed of which some test does not plainly pass."""

_ZOO_TEXT = """Real classifiers from public repositories, judged against onnxruntime on the file as
found, by code that shares nothing with the checks of the product. Kinds that are no neural or linear
classifiers (`tree`, `knn`, `invalid`, `other`) are there to be refused. Seconds are medians, `with
checks` from the file to a teacher that passed all of them."""

_UNSEEN_TEXT = """\
Classifiers that packages bring along (`benchmarks/conversion/unseen.py`), of which none was seen while the
conversion was written, judged in the same way: image classifiers, wake words, an audio transformer in 8 bits.
The transformer was refused at first, its rounding noise being above what was then allowed. One wake word asks
a second network where the first is sure, an `If` that depends on the data, and stays refused. Files without
fixed sizes and of tokens are there to be refused; in those of onnx itself all weights of a tensor are alike,
so that the scores of two do not change."""
_ARCHITECTURE_TEXT = """Published architectures, written in plain torch with small inputs and disturbed
random weights, through both exporters. `forward`, `batch` and `gradient` are relative differences: from
onnxruntime, of four together from each alone, and of the gradient from that of the network itself.
`load_s` are seconds from the file to a teacher that passed all checks, `convert_ms` those of the
conversion alone. The last two columns are the time of the converted module over that of the network,
forward and with the gradient, batches of eight, one thread, measured in turns."""
