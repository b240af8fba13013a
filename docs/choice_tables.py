"""The tables of docs/results.md and docs/choices.md about what was changed, and what came of it."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Sequence

from docs.result_tables import (
    ARMS,
    EARLIER,
    Line,
    Table,
    if_known,
    passes,
    percent,
    runs_of,
    spread,
    where_run,
)

FEWER = {
    "no-texture": "textures in the prior",
    "no-leaves": "dead leaves in the prior",
    "no-object": "objects in the prior",
    "no-strokes": "strokes in the prior",
}
ABLATED = {
    "fmnist_lenet5/auto/4": 50,
    "fmnist_lenet5/half/4": 50,
    "mnist_lenet5/auto/4": 50,
    "mnist_mlp/auto/4": 50,
    "mnist_resnet8/auto/4": 20,
    "mnist_vit/auto/4": 20,
    "cifar10_resnet8/auto/4": 20,
    "cifar10_resnet9w32/auto/4": 10,
}
"""Rows and rounds: deep networks take longer."""
BASES = ("", *EARLIER, "pool as it comes, one rate", "pool as it comes, whole batches")
"""What runs share but for one change, as variants end: the defaults of now, of before, and of before the
teacher had a say in what is drawn."""
RECENT = 6
"""Those of them that results.md tells of."""
_SCORE = "agreement_rest"


def ablation(lines: Sequence[Line], bases: Sequence[str]) -> Table:
    """What becomes of the agreement when one thing is left out or added.

    What was measured as often by the defaults of now hides what an earlier base said of the same change.

    Args:
        lines: Lines of fidelity.csv.
        bases: Some of `BASES`, in the order of the table; a change is held against runs of its own base.
    """
    head = ("row", "M passes", "changed", "agreement", "beside the row's first", "n", "beyond the spread")
    table: Table = [head]
    here = [line for line in lines if int(line["rounds"]) == ABLATED.get(line["row"])]
    for base, row in itertools.product(bases, ABLATED):
        ours = [line for line in here if line["row"] == row and _base(line) == base]
        whole = [line for line in ours if line["arm"] == "rounds" and not _variant(line)]
        now = [line for line in here if line["row"] == row and not _base(line)] if base else []
        anew, runs = Counter(map(_change, now)), Counter(map(_change, ours))
        changes = [change for change, n in runs.items() if change and anew[change] < n]
        if not whole or not changes:
            continue
        told = f"the defaults of before: {base}" if base else "nothing: the defaults"
        first = spread(percent(whole, _SCORE))
        table.append((row, passes(whole), told, first, "", str(len(whole)), ""))
        for change in changes:
            these = [line for line in ours if _change(line) == change]
            table.append((row, passes(these), change, *_beside(these, whole)))
    return table


def _beside(changed: Sequence[Line], whole: Sequence[Line]) -> tuple[str, str, str, str]:
    """Agreement of what was changed, how far that is from the same seeds without, n, and what it says."""
    seeds = {line["seed"] for line in changed}
    alike = [line for line in whole if line["seed"] in seeds] or list(whole)
    with_it, without = percent(changed, _SCORE), percent(alike, _SCORE)
    distance = f"{statistics.mean(with_it) - statistics.mean(without):+z.1f}"
    apart = max(with_it) < min(without) or min(with_it) > max(without)
    return spread(with_it), distance, str(len(with_it)), if_known(apart, with_it, without)


def _base(line: Line) -> str:
    """What else a run differs in from the defaults: the end of its variant, the longest that is known."""
    ends = (base for base in BASES if line["variant"].endswith(base))
    return max(ends, key=len)


def _variant(line: Line) -> str:
    return line["variant"].removesuffix(_base(line)).removesuffix(", ").removeprefix("once more")


def _change(line: Line) -> str:
    """What an ablation changed, in words; empty for any other line."""
    if line["arm"] in FEWER:
        return f"without {FEWER[line['arm']]}"
    variant = _variant(line).replace("no features", "without the layers' loss")
    return variant if line["arm"] == "rounds" and variant.startswith(("without ", "with ")) else ""


def sensitivity(lines: Sequence[Line]) -> Table:
    """Agreement with each default halved and doubled, 50 rounds; earlier runs where there are none of now."""
    table: Table = [("row", "default", "halved", "as it is", "doubled", "n")]
    here = [line for line in lines if int(line["rounds"]) == 50 and line["arm"] == "rounds"]
    varied = dict.fromkeys((line["row"], _varied(line), _base(line)) for line in here if _varied(line))
    for row, name, base in sorted(varied):
        if base and (row, name, "") in varied:
            continue
        cells = []
        for variant in (f"half of {name}", "", f"twice of {name}"):
            these = [
                line for line in here
                if (line["row"], _variant(line), _base(line)) == (row, variant, base)
            ]  # fmt: skip
            cells.append((spread(percent(these, "agreement_rest")) if these else "-", len(these)))
        count = ", ".join(str(n) for _, n in cells)
        star = "*" if base else ""
        table.append((row, f"{name}{star}", *(words for words, _ in cells), count))
    return table


def _varied(line: Line) -> str:
    """Name of the default that a run halves or doubles."""
    times, _, name = _variant(line).partition(" of ")
    return name if times in ("half", "twice") else ""


def choices(lines: Sequence[Line]) -> Table:
    """Runs with a changed setting, on the images that choices may look at."""
    table: Table = [("row", "arm", "rounds", "changed", "agreement, first 2,000 images", "n", "where")]
    changed = dict.fromkeys(
        (line["row"], line["arm"], int(line["rounds"]), line["variant"], where_run(line))
        for line in lines
        if line["settings"] and line["arm"] in ARMS and not _change(line) and not _varied(line)
    )
    for row, arm, rounds, variant, where in sorted(changed):
        for name in (variant, ""):
            these = [
                line for line in runs_of(lines, row, rounds, arm)
                if line["variant"] == name and where_run(line) == where
            ]  # fmt: skip
            line = (row, ARMS[arm], str(rounds), name or "defaults")
            if these:
                values = percent(these, "agreement_choosing")
                table.append((*line, spread(values), str(len(these)), where))
    return list(dict.fromkeys(table))


def wrong_scales(lines: Sequence[Line]) -> Table:
    """What a range of the input costs that is off by a factor."""
    table: Table = [("teacher", "times the true range", "agreement", "accuracy", "n", "M passes", "where")]
    keys = dict.fromkeys((line["teacher"], line["factor"]) for line in lines)
    for teacher, factor in sorted(keys, key=lambda key: (key[0], float(key[1]))):
        these = [line for line in lines if (line["teacher"], line["factor"]) == (teacher, factor)]
        table.append((
            teacher, factor, spread(percent(these, "agreement_real")),
            spread(percent(these, "accuracy_student")), str(len(these)), passes(these), these[0]["processor"],
        ))  # fmt: skip
    return table
