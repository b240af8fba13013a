"""The charts of the page: curves, margins, agreement by class, latency by batch size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from cake_onnx.report.figures import INK, STUDENT, TEACHER, Image, drawing, to_image
from cake_onnx.report.measures import ClassAgreement, CurvePoint, Margins
from cake_onnx.report.model import Report
from cake_onnx.report.table import latency_pairs
from cake_onnx.report.verdict import percent

_WIDTH, _HEIGHT = 4.2, 2.65


def loss_curve(curves: Sequence[CurvePoint]) -> Image:
    """Loss of the student against teacher passes; at least one point."""
    passes = [point.passes for point in curves]
    losses = [point.loss for point in curves]
    with drawing(_WIDTH, _HEIGHT) as figure:
        axes = figure.add_subplot()
        axes.plot(passes, losses, color=STUDENT, marker="o" if len(curves) < 15 else "", markersize=3.5)
        if min(losses) > 0 and max(losses) > 20 * min(losses):
            _log_axis(axes)
        _passes_axis(axes)
        axes.set_ylabel("loss of the student")
        alt = f"Loss of the student over {len(curves)} rounds: first {losses[0]:.3g}, last {losses[-1]:.3g}."
        return to_image(figure, alt)


def agreement_curve(curves: Sequence[CurvePoint]) -> Image | None:
    """Agreement against teacher passes, or None where no round measured it."""
    measured = [(point.passes, point.agreement) for point in curves if point.agreement is not None]
    if not measured:
        return None
    passes, shares = zip(*measured, strict=True)
    with drawing(_WIDTH, _HEIGHT) as figure:
        axes = figure.add_subplot()
        axes.plot(passes, shares, color=STUDENT, marker="o" if len(shares) < 15 else "", markersize=3.5)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set_ylim(top=min(1.0, max(shares) + 0.1) + 0.005)
        _passes_axis(axes)
        axes.set_ylabel("agreement with the teacher")
        alt = f"Agreement while training: first {percent(shares[0])}, last {percent(shares[-1])}."
        return to_image(figure, alt)


def margin_histogram(margins: Margins) -> Image:
    """Both models' first minus second logit on the same samples."""
    edges = np.asarray(margins.edges)
    with drawing(_WIDTH, _HEIGHT) as figure:
        axes = figure.add_subplot()
        for counts, colour, name in (
            (margins.teacher, TEACHER, "teacher"),
            (margins.student, STUDENT, "student"),
        ):
            shares = np.asarray(counts) / max(1, sum(counts))
            axes.stairs(shares, edges, color=colour, fill=True, alpha=0.22)
            axes.stairs(shares, edges, color=colour, linewidth=1.6, label=name)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("first minus second logit")
        axes.set_ylabel("share of samples")
        axes.legend()
        middle = [_median(edges, counts) for counts in (margins.teacher, margins.student)]
        alt = f"Margins: the middle one lies near {middle[0]:.3g} (teacher) and {middle[1]:.3g} (student)."
        return to_image(figure, alt)


def class_curve(classes: Sequence[ClassAgreement]) -> Image | None:
    """Agreement of every class that had samples, from the worst to the best, or None if none had."""
    shares = sorted(entry.agreement for entry in classes if entry.agreement is not None)
    if not shares:
        return None
    with drawing(_WIDTH, _HEIGHT) as figure:
        axes = figure.add_subplot()
        axes.stairs(shares, color=STUDENT, fill=True, alpha=0.22)
        axes.stairs(shares, color=STUDENT, linewidth=1.6)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set_ylim(0, 1.01)
        axes.set_xlim(0, len(shares))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("classes, worst first")
        axes.set_ylabel("agreement")
        middle = shares[len(shares) // 2]
        alt = f"Agreement of {len(shares)} classes: worst {percent(shares[0])}, middle {percent(middle)}."
        return to_image(figure, alt)


def latency_chart(report: Report) -> Image | None:
    """Median, p10 and p90 time per sample by batch size, or None with under two sizes in common."""
    pairs = latency_pairs(report)
    if not pairs:
        return None
    first = (pairs[0][0].provider, pairs[0][0].threads)
    chosen = sorted(
        (pair for pair in pairs if (pair[0].provider, pair[0].threads) == first),
        key=lambda pair: pair[0].batch,
    )
    if len(chosen) < 2:
        return None
    batches = [teacher.batch for teacher, _ in chosen]
    with drawing(_WIDTH, _HEIGHT) as figure:
        axes = figure.add_subplot()
        for side, (name, colour) in enumerate((("teacher", TEACHER), ("student", STUDENT))):
            times = [pair[side] for pair in chosen]
            low, middle, high = (
                [1e3 * getattr(t, f) / t.batch for t in times] for f in ("p10_ms", "median_ms", "p90_ms")
            )
            axes.fill_between(batches, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(batches, middle, color=colour, marker="o", markersize=3.5, label=name)
        axes.set_xscale("log", base=2)
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.xaxis.set_minor_locator(NullLocator())
        _log_axis(axes)
        axes.set_xlabel("samples in one call")
        axes.set_ylabel("µs per sample")
        axes.legend()
        return to_image(
            figure, f"Time per sample of both models for batches of {batches[0]} to {batches[-1]} samples."
        )


def _log_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    mark_decades(axes.yaxis)


def mark_decades(axis: Axis) -> None:
    """Mark 1, 2 and 5 of every decade of a logarithmic axis, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _passes_axis(axes: Axes) -> None:
    axes.set_xlabel("teacher passes", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))


def short_number(value: float) -> str:
    """A large number in few characters: 1500 is `1.5k`, 2,000,000 is `2M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _median(edges: np.ndarray, counts: Sequence[int]) -> float:
    total = np.cumsum(counts)
    bin_index = int(np.searchsorted(total, total[-1] / 2))
    return float((edges[bin_index] + edges[bin_index + 1]) / 2)
