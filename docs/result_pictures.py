"""The pictures of docs/results.md, from lines of the CSV files."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from docs.result_tables import Line, known, percent, star

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

PICTURES = Path(__file__).resolve().parent / "pictures"
_STYLES = {"rounds": "o-", "images": "s--", "noise": "x:", "cake": "^-.", "lake": "v-."}
_TITLES = {
    "auto": "the teacher, grown down",
    "half": "half the width, from scratch",
    "family": "another family, from scratch",
}


def draw(runs: Sequence[Line], sizes: Sequence[Line]) -> None:
    """All pictures.

    Args:
        runs: Lines of fidelity.csv.
        sizes: Lines of student_sizes.csv.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "cake-onnx"
    PICTURES.mkdir(exist_ok=True)
    _draw_curves([run for run in known(runs) if run["arm"] in _STYLES])
    _draw_sizes(sizes)


def _draw_curves(lines: Sequence[Line]) -> None:
    """Accuracy against passes, one picture a data set with a panel for each kind of student."""
    from matplotlib import pyplot as plt

    for dataset in ("fmnist", "mnist", "cifar10"):
        these = [line for line in lines if line["row"].startswith(dataset)]
        by_kind = {title: [line for line in these if _kind(line) == kind] for kind, title in _TITLES.items()}
        panels = {title: _curves(runs) for title, runs in by_kind.items() if runs}
        if not panels:
            continue
        # A line of the legend takes 0.14 inches.
        heights = [max(2.4, 0.5 + 0.14 * len(curves)) for curves in panels.values()]
        figure, axes = plt.subplots(
            len(panels), figsize=(7, sum(heights)), height_ratios=heights, layout="constrained", squeeze=False
        )
        for panel, (kind, curves) in zip(axes.flat, panels.items(), strict=True):
            panel.set_title(kind, fontsize=9)
            _draw_panel(panel, curves)
        figure.supxlabel("M teacher passes (hollow: by earlier defaults)", fontsize=9)
        figure.supylabel("accuracy on real test images, %", fontsize=9)
        figure.savefig(PICTURES / f"{dataset}.svg", metadata={"Date": None})
        plt.close(figure)


def _kind(line: Line) -> str:
    student = line["row"].split("/")[1]
    return student if student in _TITLES else "family"


def _curves(runs: Sequence[Line]) -> dict[tuple[str, str], list[Line]]:
    """Runs by row and arm."""
    curves: dict[tuple[str, str], list[Line]] = {}
    for run in runs:
        curves.setdefault((run["row"], run["arm"]), []).append(run)
    return curves


def _draw_panel(axes: Axes, curves: dict[tuple[str, str], list[Line]]) -> None:
    """A curve for each row and arm; arms of a row share its colour."""
    from matplotlib import color_sequences

    from cake_onnx.report.plots import mark_decades

    twenty = color_sequences["tab20"]
    rows = dict.fromkeys(row for row, _ in curves)
    colours = dict(zip(rows, itertools.cycle((*twenty[::2], *twenty[1::2])), strict=False))
    for (row, arm), runs in sorted(curves.items()):
        _draw_curve(axes, runs, _STYLES[arm], colours[row], f"{row}, {arm}")
    axes.set(xscale="log")
    mark_decades(axes.xaxis)
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_curve(axes: Axes, runs: list[Line], style: str, colour: ColorType, label: str) -> None:
    """Means of the runs at each number of passes, in millions."""
    runs = sorted(runs, key=_passes)
    at_once = {passes: list(group) for passes, group in itertools.groupby(runs, key=_passes)}
    means = {at: statistics.mean(percent(group, "accuracy")) for at, group in at_once.items()}
    earlier = {at: mean for at, mean in means.items() if star(at_once[at])}
    axes.plot([*means], [*means.values()], style, color=colour, label=label, markersize=5)
    axes.plot([*earlier], [*earlier.values()], style[0], color=colour, mfc="white", markersize=5)


def _passes(run: Line) -> float:
    return float(run["passes"]) / 1e6


def _draw_sizes(lines: Sequence[Line]) -> None:
    """Agreement against size, a line a teacher."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    curves: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        share = int(line["parameters_student"]) / int(line["parameters_teacher"])
        curves.setdefault(line["teacher"], []).append((share, 100 * float(line["agreement"])))
    for teacher, points in sorted(curves.items()):
        axes.plot(*zip(*sorted(points), strict=True), "o-", label=teacher, markersize=5)
    axes.set(xscale="log", xlabel="parameters left, share of the teacher's", ylabel="agreement, %")
    axes.set_xticks([1 / 30, 0.1, 0.25, 0.5], ["1/30", "1/10", "1/4", "1/2"], minor=False)
    axes.minorticks_off()
    if curves:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(PICTURES / "sizes.svg", metadata={"Date": None})
    plt.close(figure)
