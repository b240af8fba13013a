"""The tables of docs/speed.md, from lines of benchmarks/results/speed.csv and fidelity.csv."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from docs.result_tables import ARMS, Line, Table, known, star, where_run

_TEACHER, _BOTH = "bare teacher", "bare teacher and student"
_FULL, _QUARTER = "student of full size", "student a quarter"
_WAYS = {
    "float32, channels-last": "float32, c.l.",
    "bfloat16": "bfloat16",
    "bfloat16, channels-last": "bfloat16, c.l.",
    "bfloat16, channels-last, weights cast once": "weights cast once",
    "bfloat16, channels-last, CUDA graph": "CUDA graph",
}
PUBLISHED = {"mnist_lenet5/half/4": 0.984, "fmnist_lenet5/half/4": 0.765}
"""Accuracy of CAKE's students after 65.5 million passes (the paper's table)."""
_GROWN = {"mnist_lenet5/auto/4": 0.984, "fmnist_lenet5/auto/4": 0.765}


def step(lines: Sequence[Line]) -> Table:
    """One row a teacher and device."""
    table: Table = [(
        "teacher", "precision", "passes/s", "no student / teacher", "full student / both",
        "quarter / both", "full student / teacher", "quarter / teacher", "n", "where",
    )]  # fmt: skip
    for place, subject in dict.fromkeys((where_run(line), line["subject"]) for line in lines):
        these = [line for line in lines if (where_run(line), line["subject"]) == (place, subject)]
        found = {(line["way"], line["against"]): line for line in these}
        alone = found["no student", _TEACHER]
        ratios = [
            _ratio(found.get(key))
            for key in ((_FULL, _BOTH), (_QUARTER, _BOTH), (_FULL, _TEACHER), (_QUARTER, _TEACHER))
        ]
        table.append((
            subject, alone["precision"].removesuffix(" autocast"), _number(alone["value"]), _ratio(alone),
            *ratios, alone["n"], place,
        ))  # fmt: skip
    return table


def ways(lines: Sequence[Line]) -> Table:
    """One row a network, batch and device: how many times as fast as plain float32."""
    table: Table = [(
        "network", "batch", "float32, samples/s", *_WAYS.values(), "default", "largest difference of logits",
        "decisions changed", "n", "where",
    )]  # fmt: skip
    for place, subject, batch in dict.fromkeys(
        (where_run(line), line["subject"], line["batch"]) for line in lines
    ):
        found = {
            line["way"]: line
            for line in lines
            if (where_run(line), line["subject"], line["batch"]) == (place, subject, batch)
        }
        half = found["bfloat16, channels-last"]
        chosen = next((way for way, line in found.items() if line["note"] == "default"), "")
        table.append((
            subject, batch, _number(found["float32"]["value"]), *(_times(found.get(way)) for way in _WAYS),
            _WAYS.get(chosen, chosen), f"{float(half['difference']):.3f}",
            f"{100 * float(half['changed']):.1f}%", half["n"], place,
        ))  # fmt: skip
    return table


def compiled(lines: Sequence[Line]) -> Table:
    """One row a network and precision."""
    table: Table = [
        ("network", "way", "samples/s", "times as fast as without", "changed", "compiling", "n", "where")
    ]
    for line in lines:
        measured = bool(line["ratio"])
        changed = f"{100 * float(line['changed']):.1f}%" if measured else ""
        table.append((
            line["subject"], line["way"], _number(line["value"]) if measured else "missing",
            _times(line), changed, line["note"], line["n"], where_run(line),
        ))  # fmt: skip
    return table


def threads(lines: Sequence[Line]) -> Table:
    """One row a network."""
    table: Table = [("network", "precision", "samples/s", "times as fast as 1", "n", "load", "where")]
    for line in lines:
        row = (line["subject"], line["precision"], _number(line["value"]), _times(line))
        table.append((*row, line["n"], line["load"], f"{line['way']}, {where_run(line)}"))
    return table


def converted(lines: Sequence[Line]) -> Table:
    """One row a network and device, then the medians."""
    table: Table = [("network", "forward", "forward and gradient", "n", "where")]
    for place in dict.fromkeys(map(where_run, lines)):
        these = [line for line in lines if where_run(line) == place]
        medians = [
            statistics.median(float(line["ratio"]) for line in these if (line["way"] == "forward") == forward)
            for forward in (True, False)
        ]
        for subject in dict.fromkeys(line["subject"] for line in these):
            pair = [line for line in these if line["subject"] == subject]
            table.append((subject, *map(_ratio, pair), pair[0]["n"], place))
        table.append(("median of all", *(f"{median:.2f}" for median in medians), "", place))
    return table


def classes(lines: Sequence[Line]) -> Table:
    """One row a term, number of classes and device."""
    table: Table = [("term", "classes", "ms", "per class and sample, ns", "share of the pass", "n", "where")]
    for line in lines:
        beside = line["against"].startswith("bare pass")
        count = int(line["way"].split()[0])
        milliseconds = float(line["value"])
        share = f"{100 * float(line['ratio']):.2f}%" if beside else ""
        each = f"{1e6 * milliseconds / count / 1024:.2f}"
        table.append((line["subject"], f"{count:,}", _spread(line), each, share, line["n"], where_run(line)))
    return table


def samples(lines: Sequence[Line]) -> Table:
    """One row a number of samples."""
    table: Table = [("teacher", "samples", "peak memory, MiB", "of which", "where")]
    for line in lines:
        table.append((
            line["subject"], f"{int(line['batch']):,}", f"{float(line['value']):.0f}", line["note"],
            where_run(line),
        ))  # fmt: skip
    return table


def together(lines: Sequence[Line]) -> Table:
    """One row a number of ranks."""
    table: Table = [
        ("teacher", "rounds", "ranks", "passes/s", "times as fast as 1", "agreement, %", "n", "load", "where")
    ]
    for line in lines:
        if line["unit"] != "passes/s":
            continue
        agreed = next(
            other
            for other in lines
            if other["subject"] == f"{line['subject']}, agreement"
            and (other["way"], other["batch"], where_run(other))
            == (line["way"], line["batch"], where_run(line))
        )
        # The ratio is time over time as everywhere.
        table.append((
            line["subject"], line["batch"], line["way"].split()[0], _spread(line), _times(line),
            _spread(agreed), line["n"], line["load"], where_run(line),
        ))  # fmt: skip
    return table


def time_to(lines: Sequence[Line]) -> Table:
    """The least budget whose last states reach the published accuracy on average, by row and arm."""
    table: Table = [("row", "accuracy", "arm", "M passes", "seconds", "reached", "n", "where")]
    runs = known(lines)
    for row, wanted in (PUBLISHED | _GROWN).items():
        for arm, name in ARMS.items():
            these = [line for line in runs if (line["row"], line["arm"]) == (row, arm)]
            table.append((row, f"{100 * wanted:.1f}", name, *_reached(these, wanted)))
    return table


def _reached(lines: Sequence[Line], wanted: float) -> tuple[str, ...]:
    budgets: dict[float, list[Line]] = {}
    for line in lines:
        budgets.setdefault(float(line["passes"]), []).append(line)
    for passes, these in sorted(budgets.items()):
        accuracy = statistics.mean(float(line["accuracy"]) for line in these)
        if accuracy >= wanted:
            seconds = statistics.median(float(line["seconds"]) for line in these)
            places = " and ".join(dict.fromkeys(map(where_run, these)))
            spent = f"{passes / 1e6:.2f}{star(these)}"
            return spent, f"{seconds:.0f}", f"{100 * accuracy:.1f}", str(len(these)), places
    if not budgets:
        return "missing", "", "", "", ""
    best = max(statistics.mean(float(line["accuracy"]) for line in these) for these in budgets.values())
    return f"not by {max(budgets) / 1e6:.2f}", "", f"{100 * best:.1f}", "", ""


def _number(text: str) -> str:
    return f"{float(text):,.0f}"


def _spread(line: Line) -> str:
    median, least, most = (float(line[name]) for name in ("value", "least", "most"))
    digits = max(0, 2 - len(str(int(median)))) + 1 if median < 100 else 0
    return f"{median:,.{digits}f} ({least:,.{digits}f} to {most:,.{digits}f})"


def _ratio(line: Line | None) -> str:
    if line is None:
        return "-"
    return f"{float(line['ratio']):.2f} ({float(line['ratio_least']):.2f} to {float(line['ratio_most']):.2f})"


def _times(line: Line | None) -> str:
    """Time over time the other way round, as people tell it."""
    if line is None or not line["ratio"]:
        return "-"
    return f"{1 / float(line['ratio']):.2f}"
