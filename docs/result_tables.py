"""The tables and curves of docs/results.md, from lines of the CSV files."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Line = Mapping[str, str]
Table = list[tuple[str, ...]]
ARMS = {
    "rounds": "ours",
    "images": "no diffusion: drawn samples and teacher labels",
    "noise": "uniform noise and teacher labels",
    "tabular": "ours, on rows of a table",
    "cake": "CAKE",
    "lake": "LAKE",
}
AS_OTHERS = "dense layers as others"
"""Boundary samples for students of dense layers too, and no more pictures than for others."""
BRIGHTNESS = "brightness as it comes"
"""MLPs from scratch learnt from the brightness of pictures."""
CLASSES_AS_THEY_COME = "classes as they come"
"""The classes of pictures whose kinds are weighed were not evened for students from scratch."""
AS_THEY_COME = "pictures as they come"
"""The teacher chose the pictures of students of dense layers alone."""
HALF_A_RUN = "cut over half of a run"
"""Students grown down lost channels over the first half of a run."""
EARLIER = (
    BRIGHTNESS,
    CLASSES_AS_THEY_COME,
    AS_THEY_COME,
    HALF_A_RUN,
    AS_OTHERS,
    "pictures without scenes",
    "bfloat16",
    "samples mixed, strokes without arcs",
    "not normalised",
    "made up",
    "one rate",
    "whole batches",
    "labels as they come, whole batches",
)
"""Defaults of before, newest first; what each was is told in docs/choices.md."""


@dataclass(frozen=True)
class Target:
    """What a row should reach.

    Attributes:
        row: Teacher, student and compression.
        least: Accuracy, percent; or the row of the float twin, which it may be half a point below.
        most_passes: Million teacher passes it may take.
        beside: Published numbers or a ceiling, as text.
    """

    row: str
    least: float | str
    most_passes: float
    beside: str


TARGETS = (
    Target("mnist_lenet5/half/4", 98.6, 6.5, "CAKE 98.4 after 65.5 M; real data 98.8 to 99.0"),
    Target("fmnist_lenet5/half/4", 86.0, 6.5, "CAKE 76.5 after 65.5 M, here 83.0; real data 89.7"),
    Target("mnist_lenet5_int8/half/4", "mnist_lenet5/half/4", 6.5, "0.5 below its float twin"),
    Target("mnist_lenet5/auto/4", 98.8, 2.0, "teacher 99.3; real data, half width 99.0"),
    Target("mnist_lenet5_int8/auto/4", "mnist_lenet5/auto/4", 2.0, "0.5 below its float twin"),
    Target("fmnist_lenet5/auto/4", 88.5, 2.0, "teacher 91.0; real data, half width 89.7"),
    Target("mnist_mlp/auto/4", 98.0, 2.0, "teacher 98.9"),
    Target("mnist_resnet8/auto/4", 98.8, 2.0, "teacher 99.3"),
    Target("mnist_vit/auto/4", 97.0, 2.0, "teacher 98.8"),
    Target("cifar10_resnet8/auto/2", 70.0, 2.0, "teacher 86.3"),
    Target("cifar10_resnet8/auto/4", 75.0, 2.0, "teacher 86.3"),
    Target("fmnist_resnet18w32/auto/4", 90.5, 0.3, "teacher 92.9; real data 92.2"),
    Target("fmnist_resnet18w32_int8/auto/4", "fmnist_resnet18w32/auto/4", 0.3, "0.5 below its float twin"),
    Target("cifar10_resnet9w32/auto/4", 85.0, 0.3, "teacher 92.4; real data 90.7"),
)


def targets(lines: Sequence[Line]) -> Table:
    """The largest budget within each target's; missing where nothing was measured.

    Where earlier defaults were measured at a larger one, or they alone, what came of that, with a star.
    """
    table: Table = [
        ("row", "target", "within M passes", "reached, mean (least to most)", "n", "M passes", "beside it")
    ]
    for target in TARGETS:
        within = [
            line
            for line in lines
            if line["row"] == target.row
            and line["arm"] == "rounds"
            and float(line["passes"]) <= target.most_passes * 1.0025e6  # whole rounds, told to two digits
        ]
        newest, largest = _newest(within), longest(known(within))
        table.append(_reached(target, newest, lines))
        if largest != newest:
            table.append(_reached(target, largest, lines))
    return table


def _reached(target: Target, these: Sequence[Line], lines: Sequence[Line]) -> tuple[str, ...]:
    least = _least(target, these, lines)
    start = (target.row, "missing" if least is None else f"{least:.1f}", f"{target.most_passes:g}")
    if not these or least is None:
        return (*start, "missing", "", "", target.beside)
    values = percent(these, "accuracy")
    met = "met" if statistics.mean(values) >= least else "not met"
    return (*start, f"{spread(values)}{star(these)}, {met}", str(len(these)), passes(these), target.beside)


def _least(target: Target, reached: Sequence[Line], lines: Sequence[Line]) -> float | None:
    """Accuracy, percent; of a twin at as many rounds."""
    if not isinstance(target.least, str):
        return target.least
    rounds = int(reached[0]["rounds"]) if reached else 0
    twin = _newest(runs_of(lines, target.least, rounds, "rounds"))
    return statistics.mean(percent(twin, "accuracy")) - 0.5 if twin else None


def against(lines: Sequence[Line]) -> Table:
    """Ours beside no diffusion at equal passes, on the images that no choice looked at."""
    table: Table = [
        ("row", "rounds", "changed", "agreement, ours", "no diffusion", "n", "ahead beyond the spread")
    ]
    for row, rounds, variant in sorted(
        {(line["row"], int(line["rounds"]), line["variant"]) for line in lines}
    ):
        same = [line for line in lines if line["variant"] == variant]
        ours, none = (
            percent(runs_of(same, row, rounds, arm), "agreement_rest") for arm in ("rounds", "images")
        )
        if ours and none:
            table.append((row, str(rounds), variant, *_ahead(ours, none)))
    return table


def diffused(lines: Sequence[Line]) -> Table:
    """Boundary samples beside none; where the defaults give none, what earlier ones gave beside it.

    Pairs that the defaults have not been measured on are told, with a star, by those before.
    """
    table: Table = [
        ("row", "rounds", "with boundary samples", "without", "n", "ahead beyond the spread", "the default")
    ]
    told: dict[tuple[str, str], tuple[str, ...]] = {}
    for name in ("", BRIGHTNESS, CLASSES_AS_THEY_COME, AS_THEY_COME, HALF_A_RUN):
        for row, rounds, _, *pair in against([line for line in lines if line["variant"] == name])[1:]:
            told.setdefault((row, rounds), (f"{rounds}{'*' if name else ''}", *pair, "with"))
    before = [line for line in lines if line["variant"] == AS_OTHERS and line["arm"] == "rounds"]
    for row, rounds in dict.fromkeys((line["row"], line["rounds"]) for line in before):
        each = runs_of(before, row, int(rounds), "rounds"), runs_of(lines, row, int(rounds), "rounds")
        # Of two that differ in this alone, if there are such: cuts come earlier, classes are evened since.
        now = _of_the_newest(each[1], (HALF_A_RUN, CLASSES_AS_THEY_COME, BRIGHTNESS, ""))
        if now:
            apart = _ahead(*(percent(these, "agreement_rest") for these in (each[0], now)))
            told[row, rounds] = (f"{rounds}{star(now)}", *apart, "without")
    return table + [
        (row, *told[row, rounds]) for row, rounds in sorted(told, key=lambda key: (key[0], int(key[1])))
    ]


def _ahead(ours: Sequence[float], none: Sequence[float]) -> tuple[str, str, str, str]:
    words = if_known(min(ours) > max(none), ours, none)
    return spread(ours), spread(none), f"{len(ours)}, {len(none)}", words


def if_known(holds: bool, *runs: Sequence[float]) -> str:
    """What is told of a difference, which needs three seeds of each side."""
    if min(map(len, runs)) < 3:
        return "fewer than 3 seeds"
    return "yes" if holds else "no"


def ceilings(lines: Sequence[Line]) -> Table:
    """Ours beside the same student on real data: accuracy on what that one has not seen."""
    table: Table = [("row", "on real data", "ours", "difference", "n", "M passes", "seconds, ours")]
    taught = {(line["row"], int(line["rounds"])) for line in lines if line["arm"] == "real"}
    for row, rounds in sorted(taught):
        ours, real = (runs_of(lines, row, rounds, arm) for arm in ("rounds", "real"))
        if ours:
            mine, ceiling = (percent(these, "accuracy_rest") for these in (ours, real))
            difference = statistics.mean(mine) - statistics.mean(ceiling)
            seconds = statistics.median(float(line["seconds"]) for line in ours)
            table.append((
                row, spread(ceiling), f"{spread(mine)}{star(ours)}", f"{difference:+.1f}",
                f"{len(real)}, {len(ours)}", passes(ours), f"{seconds:.0f}",
            ))  # fmt: skip
    return table


def families(lines: Sequence[Line]) -> Table:
    """Teachers of four kinds against students of four kinds, the largest budget of each: accuracy, passes.

    A cell that the defaults have not been measured on tells, with a star, what came of earlier ones.
    """
    kinds = ("cnn", "mlp", "resnet", "vit")
    table: Table = [("teacher", *kinds)]
    for teacher in ("mnist_lenet5", "mnist_mlp", "mnist_resnet8", "mnist_vit"):
        cells = []
        for kind in kinds:
            row = f"{teacher}/{kind}/1"
            ours = [line for line in lines if line["row"] == row and line["arm"] == "rounds"]
            these = _newest(ours)
            reached = spread(percent(these, "accuracy")) + star(these) if these else ""
            cells.append(f"{reached}, {passes(these)} M" if these else "missing")
        table.append((teacher, *cells))
    return table


def _newest(lines: Sequence[Line]) -> list[Line]:
    """Those of the largest budget that the defaults were measured on, or else earlier ones."""
    return longest(_of_the_newest(lines))


def known(lines: Sequence[Line]) -> list[Line]:
    """Runs of the defaults; of earlier ones those with a larger budget than newer ones of a row and arm."""
    most: dict[tuple[str, str], float] = {}
    kept = []
    for name in ("", *EARLIER):
        these = [line for line in lines if line["variant"] == name]
        # Some defaults spent a few passes more on choosing pictures; that is no larger budget.
        longer = [line for line in these if float(line["passes"]) > 1.02 * most.get(_row_and_arm(line), 0.0)]
        for line in longer:
            most[_row_and_arm(line)] = max(most.get(_row_and_arm(line), 0.0), float(line["passes"]))
        kept += longer
    return kept


def _row_and_arm(line: Line) -> tuple[str, str]:
    return line["row"], line["arm"]


def _of_the_newest(lines: Sequence[Line], names: Sequence[str] = ("", *EARLIER)) -> list[Line]:
    """Those of the first of these defaults that there are, by default of the newest."""
    each = ([line for line in lines if line["variant"] == name] for name in names)
    return next(filter(None, each), [])


def star(lines: Iterable[Line]) -> str:
    """For runs some of which are of earlier defaults."""
    return "*" if any(line["variant"] for line in lines) else ""


def every(lines: Sequence[Line]) -> Table:
    """All arms and budgets of rows, as `known` gives them, with a star at earlier defaults."""
    table: Table = [("row", "arm", "M passes", "agreement", "accuracy", "n", "seconds", "student", "where")]
    keys = dict.fromkeys(
        (line["row"], line["arm"], int(line["rounds"]), where_run(line))
        for line in lines
        if line["arm"] in ARMS
    )
    for row, arm, rounds, where in sorted(keys, key=lambda key: (key[0], list(ARMS).index(key[1]), key[2])):
        these = [line for line in runs_of(lines, row, rounds, arm) if where_run(line) == where]
        seconds = statistics.median(float(line["seconds"]) for line in these)
        table.append((
            row, f"{ARMS[arm]}{star(these)}", passes(these), spread(percent(these, "agreement")),
            spread(percent(these, "accuracy")), str(len(these)), f"{seconds:.0f}",
            f"{these[0]['student']}, {int(these[0]['parameters_student']):,}", where,
        ))  # fmt: skip
    return table


def longest(lines: Sequence[Line]) -> list[Line]:
    """Those of the largest budget."""
    most = max((int(line["rounds"]) for line in lines), default=0)
    return [line for line in lines if int(line["rounds"]) == most]


def percent(lines: Iterable[Line], column: str) -> list[float]:
    """Shares as percent."""
    return [100 * float(line[column]) for line in lines]


def spread(values: Sequence[float]) -> str:
    """Mean, and least to most where there are several."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def passes(lines: Sequence[Line]) -> str:
    """Millions."""
    return f"{statistics.mean(float(line['passes']) for line in lines) / 1e6:.2f}"


def runs_of(lines: Iterable[Line], row: str, rounds: int, arm: str) -> list[Line]:
    """Lines of one row, budget and arm."""
    return [line for line in lines if (line["row"], int(line["rounds"]), line["arm"]) == (row, rounds, arm)]


def where_run(line: Line) -> str:
    """The processor, or the GPU."""
    device = line["device"].split(",")[0]
    return line["processor"] if device == "cpu" else device
