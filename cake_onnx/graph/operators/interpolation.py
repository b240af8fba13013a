"""Weights of one-dimensional interpolation, exact for every option of ONNX Resize-19.

Along one axis, resizing is linear in the input, whatever the mode: a matrix `(out, in)` says it all.
Coordinates are computed in float32, as onnxruntime does; nearest neighbours at ties depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


_HALF_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Interpolation:
    """How values between the elements of an axis are found; names and values are those of ONNX Resize-19.

    Attributes:
        mode: `nearest`, `linear` or `cubic`.
        coordinates: `coordinate_transformation_mode`.
        nearest: `nearest_mode`; `simple` is that of Resize-10: up when the axis shrinks, else down.
        cubic: `cubic_coeff_a`.
        exclude_outside: Leave out what lies outside and scale the rest up, instead of repeating the border.
        antialias: Widen the filter when the axis shrinks.
    """

    mode: str
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


@dataclass(frozen=True)
class Axis:
    """One axis that is resized.

    Attributes:
        size: Elements before.
        out: Elements after.
        scale: Factor between them, which need not be their quotient.
        start: Where the crop starts, as a part of the axis; for `tf_crop_and_resize` alone.
        end: Where it ends.
    """

    size: int
    out: int
    scale: float
    start: float = 0.0
    end: float = 1.0


def _asymmetric(x: Reals, axis: Axis) -> Reals:
    return x / np.float32(axis.scale)


def _half_pixel(x: Reals, axis: Axis) -> Reals:
    return (x + np.float32(0.5)) / np.float32(axis.scale) - np.float32(0.5)


def _pytorch_half_pixel(x: Reals, axis: Axis) -> Reals:
    return _half_pixel(x, axis) if axis.out > 1 else np.zeros_like(x)


def _half_pixel_symmetric(x: Reals, axis: Axis) -> Reals:
    adjustment = np.float32(axis.out) / (np.float32(axis.scale) * np.float32(axis.size))
    offset = axis.size / 2 * (1 - float(adjustment))
    # The one mode that onnxruntime computes in double precision before it rounds.
    return (offset + (x.astype(np.float64) + 0.5) / float(np.float32(axis.scale)) - 0.5).astype(np.float32)


def _half_pixel_for_nearest(x: Reals, axis: Axis) -> Reals:
    return (x + np.float32(0.5)) / np.float32(axis.scale)


def _align_corners(x: Reals, axis: Axis) -> Reals:
    return x * np.float32(axis.size - 1) / np.float32(axis.out - 1) if axis.out > 1 else np.zeros_like(x)


def _crop_and_resize(x: Reals, axis: Axis) -> Reals:
    last = np.float32(axis.size - 1)
    start, end = np.float32(axis.start), np.float32(axis.end)
    if axis.out == 1:
        return np.full_like(x, np.float32(0.5) * (start + end) * last)
    return start * last + x * (end - start) * last / np.float32(axis.out - 1)


COORDINATES: dict[str, Callable[[Reals, Axis], Reals]] = {
    "asymmetric": _asymmetric,
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "tf_half_pixel_for_nn": _half_pixel_for_nearest,
    "align_corners": _align_corners,
    "tf_crop_and_resize": _crop_and_resize,
}


def _with_exact_halves(x: Reals) -> Reals:
    # onnxruntime takes what lies next to a half, because a division was rounded, for that half.
    half = np.floor(x) + np.float32(0.5)
    return np.where(np.abs(x - half) <= _HALF_TOLERANCE, half, x)


NEAREST: dict[str, Callable[[Reals], Reals]] = {
    "round_prefer_floor": lambda x: np.ceil(_with_exact_halves(x) - 0.5),
    "round_prefer_ceil": lambda x: np.floor(_with_exact_halves(x) + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def coordinates(how: Interpolation, axis: Axis) -> Reals:
    """Where in the input each element of the output lies, `(out,)`."""
    return COORDINATES[how.coordinates](np.arange(axis.out, dtype=np.float32), axis)


@lru_cache(maxsize=256)
def nearest_places(how: Interpolation, axis: Axis) -> Places:
    """Index of the input element that each output element repeats, `(out,)`."""
    rounding = how.nearest
    if rounding == "simple":
        rounding = "ceil" if axis.scale < 1 else "floor"
    places = NEAREST[rounding](coordinates(how, axis)).astype(np.int64)
    return np.clip(places, 0, axis.size - 1)


@lru_cache(maxsize=256)
def outside(how: Interpolation, axis: Axis) -> npt.NDArray[np.bool_]:
    """Whether each output element lies outside of the input, `(out,)`."""
    x = coordinates(how, axis)
    return (x < 0) | (x > axis.size - 1)


@lru_cache(maxsize=256)
def weights(how: Interpolation, axis: Axis) -> Reals:
    """Matrix `(out, in)` of linear or cubic interpolation; each row sums to 1."""
    x = coordinates(how, axis).astype(np.float64)
    reach = 1 if how.mode == "linear" else 2
    # A filter made wider by the factor of the reduction averages instead of skipping elements.
    narrow = min(axis.scale, 1.0) if how.antialias else 1.0
    span = int(np.ceil(reach / narrow)) + 1
    taps = np.floor(x)[:, None] + np.arange(-span, span + 1)
    distance = np.abs(taps - x[:, None]) * narrow
    share = _triangle(distance) if how.mode == "linear" else _keys(distance, how.cubic)
    inside = (taps >= 0) & (taps < axis.size)
    if how.exclude_outside:
        share = np.where(inside, share, 0.0)
    share = share / share.sum(axis=1, keepdims=True)
    matrix = np.zeros((axis.out, axis.size))
    columns = np.clip(taps, 0, axis.size - 1).astype(np.int64)
    np.add.at(matrix, (np.arange(axis.out)[:, None], columns), share)
    return matrix.astype(np.float32)


def _triangle(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(1.0 - distance, 0.0, 1.0)


def _keys(distance: npt.NDArray[np.float64], a: float) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel with the parameter `a`."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
