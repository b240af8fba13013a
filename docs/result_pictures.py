"""The pictures of docs/results.md, from lines of the CSV files."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path

from docs.result_tables import Line, known

PICTURES = Path(__file__).resolve().parent / "pictures"
_STYLES = {"rounds": "o-", "images": "s--", "noise": "x:", "cake": "^-.", "lake": "v-."}


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
    """Accuracy against passes, one picture a data set."""
    from matplotlib import color_sequences
    from matplotlib import pyplot as plt

    from cake_onnx.report.plots import mark_decades

    for dataset in ("fmnist", "mnist", "cifar10"):
        figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
        curves: dict[tuple[str, str], dict[float, list[float]]] = {}
        for line in lines:
            if line["row"].startswith(dataset):
                curve = curves.setdefault((line["row"], line["arm"]), {})
                curve.setdefault(float(line["passes"]) / 1e6, []).append(100 * float(line["accuracy"]))
        rows = dict.fromkeys(row for row, _ in curves)
        twenty = color_sequences["tab20"]
        strong_first = itertools.cycle((*twenty[::2], *twenty[1::2]))
        colours = dict(zip(rows, strong_first, strict=False))
        for (row, arm), curve in sorted(curves.items()):
            at = sorted(curve)
            axes.plot(
                at, [statistics.mean(curve[x]) for x in at],
                _STYLES[arm], color=colours[row], label=f"{row}, {arm}", markersize=5,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="M teacher passes", ylabel="accuracy on real test images, %")
        mark_decades(axes.xaxis)
        if curves:
            axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.savefig(PICTURES / f"{dataset}.svg", metadata={"Date": None})
        plt.close(figure)


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
