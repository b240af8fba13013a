"""The tables of docs/results.md about sizes, speed and ways to cut, from lines of the CSV files."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from docs.result_tables import Line, Table, passes, percent, spread, where_run

WAYS = {
    "scratch-uniform": "from scratch, every layer narrowed alike",
    "scratch-found": "from scratch, the widths that are planned",
    "at-once": "the teacher, cut at once",
    "gradual": "the teacher, cut little by little: the default",
    "gradual-uniform": "the teacher, every layer narrowed alike, little by little",
    "gradual-noise": "the default on uniform noise alone",
    "gradual-images": "the default on procedural images alone",
}
_OWN = "narrowing.share=1e-9 narrowing.least_rounds=0 narrowing.notches=1"
"""What makes a student of those be cut at once."""


def ways(lines: Sequence[Line]) -> Table:
    """Ways to cut, at equal parameters and passes."""
    table: Table = [
        ("teacher", "way", "M passes", "accuracy", "agreement", "n", "parameters", "widths, seed 0", "where")
    ]
    keys = dict.fromkeys((line["teacher"], line["compression"], int(line["rounds"])) for line in lines)
    for key in sorted(keys):
        here = [line for line in lines if (line["teacher"], line["compression"], int(line["rounds"])) == key]
        for way, star, where in dict.fromkeys(
            (way, _star(line), where_run(line)) for way in WAYS for line in here
        ):
            these = [
                line for line in here if (line["way"], _star(line), where_run(line)) == (way, star, where)
            ]
            if these:
                first = min(these, key=lambda line: int(line["seed"]))
                table.append((
                    key[0], WAYS[way] + star, passes(these), spread(percent(these, "accuracy")),
                    spread(percent(these, "agreement")), str(len(these)),
                    f"{int(first['parameters_student']):,}", first["widths"].replace(" ", "-"), where,
                ))  # fmt: skip
    return table


def _star(line: Line) -> str:
    """For what earlier defaults gave."""
    own = _OWN if line.get("way") == "at-once" else ""
    return "*" if line["settings"].removeprefix(own) else ""


def sizes(lines: Iterable[Line]) -> Table:
    """One line a student of benchmarks/student/sizes.py."""
    table: Table = [
        (
            "teacher",
            "asked",
            "parameters",
            "file",
            "agreement",
            "accuracy",
            "latency 1, 64",
            "M passes",
            "student",
        )
    ]
    for line in sorted(lines, key=lambda line: (line["teacher"], float(line["compression"]))):
        faster = ", ".join(f"{float(line[key]):.1f}x" for key in ("latency_ratio_1", "latency_ratio_64"))
        table.append((
            line["teacher"], f"{line['compression']}x{_star(line)}",
            f"{int(line['parameters_teacher']):,} → {int(line['parameters_student']):,}",
            f"{int(line['bytes_teacher']) / 1e3:.0f} → {int(line['bytes_student']) / 1e3:.0f} kB",
            f"{100 * float(line['agreement']):.1f}",
            f"{100 * float(line['accuracy_teacher']):.1f} → {100 * float(line['accuracy']):.1f}",
            faster, f"{int(line['passes']) / 1e6:.2f}", line["student"],
        ))  # fmt: skip
    return table


def fast(lines: Iterable[Line]) -> Table:
    """What a wish for speed leaves, one line a teacher and ratio."""
    table: Table = [
        ("teacher", "asked", "batch", "time, measured anew", "n", "parameters", "widths", "where")
    ]
    for line in lines:
        start = (line["teacher"], line["asked"], line["batch"])
        if line["refused"]:
            why = f"refused: {line['refused']}"
            table.append((*start, why, "", f"{int(line['parameters_teacher']):,}", "", line["processor"]))
            continue
        table.append((
            *start, f"{float(line['ratio']):.2f} ({float(line['least']):.2f} to {float(line['most']):.2f})",
            line["n"], f"{int(line['parameters_teacher']):,} → {int(line['parameters_student']):,}",
            line["widths"].replace(" ", "-"), line["processor"],
        ))  # fmt: skip
    return table


def teachers(lines: Iterable[Line]) -> Table:
    """One line a run of benchmarks/teachers.py."""
    table: Table = [
        (
            "teacher",
            "asked",
            "parameters",
            "student",
            "said",
            "on real data",
            "accuracy",
            "latency 1, 64",
            "M passes",
            "minutes",
            "where",
        )
    ]
    for line in sorted(lines, key=lambda line: line["teacher"]):
        table.append((
            line["teacher"], f"{line['compression']}x, {line['asked']}",
            f"{int(line['teacher_parameters']):,} → {int(line['student_parameters']):,}", line["student"],
            _said(line), f"{100 * float(line['real']):.1f}",
            f"{100 * float(line['accuracy_teacher']):.1f} → {100 * float(line['accuracy_student']):.1f}",
            ", ".join(f"{float(line[key]):.1f}x" for key in ("latency_ratio_1", "latency_ratio_64")),
            f"{int(line['passes']) / 1e6:.2f}", f"{float(line['seconds']) / 60:.1f}", line["processor"],
        ))  # fmt: skip
    return table


SAMPLES = {
    "prior": "2,000 of the prior: `--quantize int8`",
    "boundary": "2,000 that `synthesize` writes",
    "noise": "2,000 of uniform noise",
    "real": "real images, to compare",
}


def calibration(lines: Sequence[Line]) -> Table:
    """What 8-bit integers cost, by the samples that ranges come from; one line a teacher and kind."""
    table: Table = [("file", "calibrated on", "agreement", "accuracy", "n", "size", "time 1, 64", "where")]
    for teacher in sorted({line["teacher"] for line in lines}):
        for kind, name in SAMPLES.items():
            these = [line for line in lines if (line["teacher"], line["samples"]) == (teacher, kind)]
            if these:
                table.append(_calibrated(teacher, name, these))
    return table


def _calibrated(teacher: str, samples: str, lines: Sequence[Line]) -> tuple[str, ...]:
    first = lines[0]
    sizes = [f"{int(first[key]) / 1e3:.0f}" for key in ("bytes_float", "bytes_int8")]
    times = (statistics.median(float(line[f"times_as_long_{batch}"]) for line in lines) for batch in (1, 64))
    return (
        teacher, samples, spread(percent(lines, "agreement_rest")),
        f"{100 * float(first['accuracy_float_rest']):.1f} → {spread(percent(lines, 'accuracy_int8_rest'))}",
        str(len(lines)), f"{' → '.join(sizes)} kB", ", ".join(f"{time:.1f}x" for time in times),
        first["processor"],
    )  # fmt: skip


def strangers(lines: Sequence[Line]) -> Table:
    """What became of other people's files in a short round: how many are like-teacher, and which are not."""
    others = [line for line in lines if line["student"] != "like-teacher"]
    table: Table = [("file", "student", "why")]
    if lines:
        table.append((f"{len(lines) - len(others)} of {len(lines)}", "like-teacher", ""))
    for line in others:
        why = line["why"].partition("was not taken: ")[2] or line["why"]
        table.append((line["file"].rpartition("/")[2], line["student"] or line["outcome"], _short(why)))
    return table


def _short(why: str) -> str:
    found = why.partition("; found ")[2].partition(". ")[0]
    return found or why.partition(". ")[0]


def _said(line: Line) -> str:
    held_out, between, noise = (
        100 * float(line[name]) for name in ("held-out samples", "samples between classes", "uniform noise")
    )
    return f"{min(held_out, between):.1f} ({held_out:.1f}, {between:.1f}; {noise:.1f})"
