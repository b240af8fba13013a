"""Two features: what both models say over the plane, with the synthetic samples on it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cake_onnx.report.figures import INK, PAPER, WARN, Image, drawing, to_image
from cake_onnx.report.pictures import COLOURS, Pictures, Regions, palette

_POINTS = 1500


def region_maps(pictures: Pictures) -> tuple[Image, Image] | None:
    """Decision regions of teacher and student with the samples on top; None without regions."""
    regions = pictures.regions
    if regions is None:
        return None
    named = (regions.teacher, regions.student, pictures.teacher, pictures.student)
    colours = palette(1 + max(int(classes.max(initial=0)) for classes in named))
    differ = 100 * float((regions.teacher != regions.student).mean())
    told = f"Student: decision regions, which differ from the teacher's on {differ:.1f}% of the area shown."
    first = "Teacher: decision regions."
    return (
        _region_map(pictures, regions, regions.teacher, pictures.teacher, colours, first),
        _region_map(pictures, regions, regions.student, pictures.student, colours, told),
    )


def _points(axes: Axes, pictures: Pictures, own: NDArray[np.integer], colours: NDArray[np.floating]) -> None:
    if len(pictures.samples) == 0:
        return
    keep = _thinned(len(pictures.samples), _POINTS)
    at = np.asarray(pictures.samples, dtype=np.float64).reshape(len(pictures.samples), -1)[keep]
    axes.scatter(at[:, 0], at[:, 1], s=9, c=colours[own[keep]], edgecolors=PAPER, linewidths=0.35)
    wrong = pictures.teacher[keep] != pictures.student[keep]
    axes.scatter(at[wrong, 0], at[wrong, 1], s=26, facecolors="none", edgecolors=WARN, linewidths=1.0)


def _region_map(
    pictures: Pictures,
    regions: Regions,
    grid: NDArray[np.integer],
    own: NDArray[np.integer],
    colours: NDArray[np.floating],
    alt: str,
) -> Image:
    left, right, bottom, top = (float(v) for v in (regions.x[0], regions.x[-1], regions.y[0], regions.y[-1]))
    with drawing(4.4, 3.9) as figure:
        axes = figure.add_subplot()
        axes.grid(visible=False)
        axes.imshow(
            colours[grid], extent=(left, right, bottom, top), origin="lower", aspect="auto", alpha=0.4,
            interpolation="nearest",
        )  # fmt: skip
        classes = np.unique(grid)
        if len(classes) <= len(COLOURS):
            for one in classes[1:]:
                inside = (grid == one).astype(np.float64)
                axes.contour(regions.x, regions.y, inside, levels=[0.5], colors=[INK], linewidths=0.8)
        _points(axes, pictures, own, colours)
        axes.set(xlim=(left, right), ylim=(bottom, top), xlabel="first feature", ylabel="second feature")
        return to_image(figure, alt)


def _thinned(n: int, limit: int) -> NDArray[np.integer]:
    return np.unique(np.linspace(0, n - 1, min(n, limit)).round().astype(np.int64))
