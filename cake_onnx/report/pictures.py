"""The synthetic samples, shown: tiles for images, curves for series, strips for the rest."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from matplotlib.colors import hsv_to_rgb, to_rgba
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cake_onnx.report.figures import PAPER, Image, drawing, to_image

_TILES = 40
_TILE_SIDE = 64
_SERIES = 24
_CURVES = 12
_CURVE_POINTS = 128
_STRIP_ROWS = 120
_STRIP_COLUMNS = 256
COLOURS = (
    "#4c78a8", "#f58518", "#54a24b", "#b279a2", "#eeca3b", "#72b7b2", "#e45756", "#9d755d", "#ff9da6",
    "#8a8a86",
)  # fmt: skip


PictureLayout = Literal["NCHW", "NHWC", "series", "flat"]


@dataclass(frozen=True)
class Regions:
    """Winning class of both models on a grid over two features.

    Attributes:
        x: Rising values of the first feature `(W,)`.
        y: Rising values of the second feature `(H,)`.
        teacher: Class at `(y[i], x[j])`, integers `(H, W)`.
        student: The same of the student `(H, W)`.
    """

    x: NDArray[np.floating]
    y: NDArray[np.floating]
    teacher: NDArray[np.integer]
    student: NDArray[np.integer]


@dataclass(frozen=True)
class Pictures:
    """Arrays behind the pictures of the page.

    Attributes:
        samples: Synthetic samples in the range of the input, `(N, *shape)` or as `layout` says; N may be 0.
        teacher: Class the teacher gives each `(N,)`.
        student: Class the student gives each `(N,)`.
        layout: `NCHW` or `NHWC` of images, `series` of samples `(N, channels, length)`, else `flat`.
        low: Lowest values, broadcast against a sample.
        high: Highest values, as many as `low`.
        regions: For two features, the decisions of both over the plane.
    """

    samples: NDArray[np.generic]
    teacher: NDArray[np.integer]
    student: NDArray[np.integer]
    layout: PictureLayout
    low: NDArray[np.floating]
    high: NDArray[np.floating]
    regions: Regions | None = None


@dataclass(frozen=True)
class Tile:
    """One synthetic image or series with what both models call it.

    Attributes:
        image: Picture of the sample.
        teacher: Class of the teacher.
        student: Class of the student.
    """

    image: Image
    teacher: int
    student: int


def tiles(pictures: Pictures) -> list[Tile]:
    """40 samples as small pictures, spread over the teacher's classes; none for `flat` inputs.

    Longer sides than 64 pixels are averaged down, so a page of 224 by 224 samples stays small. One
    channel is grey, three are colour, any other number is shown as the mean of the channels. Of series
    there are 24, a curve of at most 128 points for each channel; of more than 12 channels some are shown.
    """
    if pictures.layout == "flat":
        return []
    draw, count = (_curves, _SERIES) if pictures.layout == "series" else (_photograph, _TILES)
    return [
        Tile(draw(pictures, index), int(pictures.teacher[index]), int(pictures.student[index]))
        for index in _spread(pictures.teacher, count)
    ]


def strips(pictures: Pictures) -> Image | None:
    """Samples as rows and features as columns, sorted by the teacher's class; for `flat` samples alone.

    Each value is shown as its place between the lowest and highest allowed. More than 120 rows are thinned
    out, more than 256 features are averaged in runs.
    """
    if pictures.layout != "flat" or len(pictures.samples) == 0:
        return None
    chosen = _spread(pictures.teacher, _STRIP_ROWS)
    chosen.sort(key=lambda index: (int(pictures.teacher[index]), index))
    values = _unit(pictures, chosen).reshape(len(chosen), -1)
    features = values.shape[1]
    values = _averaged(values, min(features, _STRIP_COLUMNS), axis=1)
    classes = pictures.teacher[chosen]
    with drawing(7.2, 3.0) as figure:
        axes = figure.add_subplot()
        axes.grid(visible=False)
        shown = axes.imshow(
            values, aspect="auto", cmap="cividis", vmin=0, vmax=1, interpolation="nearest",
            extent=(0, features, len(chosen), 0),
        )  # fmt: skip
        for row in np.flatnonzero(np.diff(classes)) + 1:
            axes.axhline(float(row), color=PAPER, linewidth=1.0)
        axes.yaxis.set_ticks([])
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("feature")
        axes.set_ylabel("samples, by class")
        bar = figure.colorbar(shown, ax=axes, fraction=0.03, pad=0.02, ticks=[0, 1])
        bar.ax.set_yticklabels(["lowest", "highest"])
        kinds = len(np.unique(classes))
        alt = f"{len(chosen)} synthetic samples as rows: {features} features, {kinds} classes."
        return to_image(figure, alt)


def palette(count: int) -> NDArray[np.floating]:
    """Colours that can be told apart, RGBA `(count, 4)`: ten hand-picked ones, then evenly spread hues."""
    if count <= len(COLOURS):
        return np.array([to_rgba(colour) for colour in COLOURS[:count]])
    hues = (np.arange(count) * 0.618034) % 1.0
    rgb = hsv_to_rgb(np.stack([hues, np.full(count, 0.55), np.full(count, 0.8)], axis=1))
    return np.concatenate([rgb, np.ones((count, 1))], axis=1)


def _spread(classes: NDArray[np.integer], limit: int) -> list[int]:
    """Up to `limit` indices, taking turns between the classes, in the order they came."""
    turns: dict[int, int] = {}
    keyed = []
    for index, label in enumerate(classes.tolist()):
        turn = turns.get(label, 0)
        turns[label] = turn + 1
        keyed.append((turn, label, index))
    return [index for _, _, index in sorted(keyed)[:limit]]


def _unit(pictures: Pictures, chosen: list[int]) -> NDArray[np.floating]:
    """Some of the samples, their values as their place 0..1 between the bounds."""
    low, high = (side.astype(np.float64) for side in (pictures.low, pictures.high))
    values = np.asarray(pictures.samples[chosen], dtype=np.float64)
    unit: NDArray[np.floating] = np.clip((values - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    return unit


def _photograph(pictures: Pictures, index: int) -> Image:
    pixels = _pixels(pictures, index)
    height, width = pixels.shape[:2]
    return Image(_png_uri(pixels), f"Synthetic sample {index + 1}", width, height)


def _curves(pictures: Pictures, index: int) -> Image:
    """One series, its channels over each other between the lowest and the highest value allowed."""
    unit = _unit(pictures, [index])[0]
    channels = np.unique(np.linspace(0, len(unit) - 1, min(len(unit), _CURVES)).round().astype(np.int64))
    curves = _averaged(unit[channels], min(unit.shape[1], _CURVE_POINTS), axis=1)
    with drawing(1.6, 1.0) as figure:
        axes = figure.add_subplot()
        axes.axis("off")
        axes.set(xlim=(0, max(1, curves.shape[1] - 1)), ylim=(-0.03, 1.03))
        for curve, colour in zip(curves, palette(len(curves)), strict=True):
            axes.plot(curve, color=colour, linewidth=1.2, marker="." if len(curve) == 1 else None)
        return to_image(figure, f"Synthetic sample {index + 1}")


def _pixels(pictures: Pictures, index: int) -> NDArray[np.uint8]:
    """One image as `(H, W)` grey or `(H, W, 3)` colour, 0..255, sides at most 64."""
    unit = _unit(pictures, [index])[0]
    unit = np.moveaxis(unit, 0, -1) if pictures.layout == "NCHW" else unit
    for axis in (0, 1):
        unit = _averaged(unit, min(unit.shape[axis], _TILE_SIDE), axis)
    grey = unit if unit.shape[-1] == 3 else unit.mean(axis=-1)
    pixels: NDArray[np.uint8] = (grey * 255).round().astype(np.uint8)
    return pixels


def _averaged(x: NDArray[np.floating], size: int, axis: int) -> NDArray[np.floating]:
    """`x` with `axis` brought down to `size` entries, each the mean of a run of neighbours."""
    length = x.shape[axis]
    if length == size:
        return x
    starts = (np.arange(size) * length) // size
    runs = np.diff(np.append(starts, length)).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    averaged: NDArray[np.floating] = np.add.reduceat(x, starts, axis=axis) / runs
    return averaged


def _png_uri(pixels: NDArray[np.uint8]) -> str:
    out = BytesIO()
    colour = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)
    imsave(out, colour, format="png", pil_kwargs={"optimize": True})
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
