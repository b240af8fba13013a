"""Real test data in the units of a teacher, for measuring only, and how its input is scaled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits, make_moons

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def real_data(entry: dict[str, Any], folder: Path, shape: tuple[int, ...]) -> tuple[FloatArray, IntArray]:
    """Samples `(N, *shape)` and labels `(N,)` for one entry of a teachers' manifest.

    Digits and moons come from scikit-learn; which of them the teacher was trained on is not known, so there
    only the agreement means something.
    """
    dataset = entry["dataset"]
    if dataset == "digits":
        digits = load_digits()
        return digits.data.astype(np.float32).reshape(-1, *shape), digits.target.astype(np.int64)
    if dataset == "moons":
        points, labels = make_moons(2000, noise=0.2, random_state=1)
        return points.astype(np.float32), labels.astype(np.int64)
    with np.load(folder / f"{dataset}_test.npz") as archive:
        images, labels = archive["x"].astype(np.float32), archive["y"].astype(np.int64)
    if entry["input_scaling"]["kind"] == "raw":
        return images.reshape(-1, *shape), labels
    return _scaled(images.transpose(0, 3, 1, 2), entry["input_scaling"], shape), labels


def known_range(entry: dict[str, Any]) -> dict[str, Any]:
    """The options with which somebody who knows the teacher would state its input range."""
    scaling = entry["input_scaling"]
    if scaling["kind"] == "raw":
        return {}  # a table as it would arrive: nobody says how it is scaled
    if scaling["kind"] == "mean_std_outside_graph":
        return {"mean": tuple(scaling["mean"]), "std": tuple(scaling["std"])}
    return {"input_range": tuple(scaling["range"])}


def _scaled(pixels: FloatArray, scaling: dict[str, Any], shape: tuple[int, ...]) -> FloatArray:
    missing = shape[-1] - pixels.shape[-1] if len(shape) == 3 else 0
    if missing:
        half = missing // 2
        pixels = np.pad(pixels, ((0, 0), (0, 0), (half, half), (half, half)))
    if scaling["kind"] == "minus_one_one":
        x = pixels / 127.5 - 1
    elif scaling["kind"] == "mean_std_outside_graph":
        mean, std = (np.array(scaling[name], np.float32).reshape(1, -1, 1, 1) for name in ("mean", "std"))
        x = (pixels / 255 - mean) / std
    else:
        x = pixels / 255
    return np.ascontiguousarray(x.reshape(len(x), *shape), dtype=np.float32)
