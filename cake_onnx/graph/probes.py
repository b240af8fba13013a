"""The inputs a conversion is judged on: typical ones, and those at which a wrong operator shows itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cake_onnx.graph.runtime import Array, bound_arrays, draw_inputs
from cake_onnx.graph.specs import InputSpec

_UNIFORM, _NORMAL = "a uniform sample", "a normal sample"
_CORNER, _FLAT, _FAINT = "a corner of the range", "a flat sample", "a faint sample"
_BEYOND = "a sample beyond the range"
_ALIKE = ((_UNIFORM, _NORMAL), (_CORNER,), (_FLAT, _FAINT), (_BEYOND,))
_LARGE_INPUT = 2**16
"""Elements of an input beyond which half the samples have to do: each costs seconds in a large network."""
_REACH = 1.5
"""Standard deviation of inputs beyond the bounds, in units of half their width."""
_CONTRAST = 0.01
"""Standard deviation of a faint sample, in units of half the width of the bounds."""


@dataclass(frozen=True)
class Probes:
    """Inputs to compare on.

    Attributes:
        x: `(B, *shape)` in the units of the model.
        kinds: What each sample is, for people.
        beyond: `(B,)` booleans: samples that leave the bounds on purpose.
    """

    x: Array
    kinds: tuple[str, ...]
    beyond: np.ndarray[tuple[int], np.dtype[np.bool_]]

    def __len__(self) -> int:
        return len(self.x)

    def typical(self, n: int) -> list[int]:
        """Up to n samples out of the uniform and normal ones, of each the same number."""
        groups = [[i for i, kind in enumerate(self.kinds) if kind == group] for group in (_UNIFORM, _NORMAL)]
        return [i for group in groups for i in group[: n // 2]]

    def alike(self) -> list[list[int]]:
        """The samples in groups whose logits should be of one size."""
        return [
            rows for group in _ALIKE if (rows := [i for i, kind in enumerate(self.kinds) if kind in group])
        ]

    def take(self, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Probes:
        """Some of the samples."""
        return Probes(self.x[rows], tuple(self.kinds[row] for row in rows), self.beyond[rows])


def draw_probes(input: InputSpec, seed: int) -> Probes:
    """Uniform and normal samples, corners of the bounds, faint and flat ones, and some beyond the bounds.

    Corners saturate what can saturate. Flat and faint samples have no variance, so that the epsilon of a
    normalisation counts. Values beyond the bounds, of both signs, reach the parts of a function that a
    positive range never meets; whole numbers stay within theirs, which may be indices.
    """
    whole = np.dtype(input.dtype).kind in "iu"
    low, high = bound_arrays(input)
    rng = np.random.default_rng(seed + 1)
    usual, rare = (4, 2) if math.prod(input.shape) > _LARGE_INPUT else (8, 4)
    middle, half = (low + high) / 2, (high - low) / 2

    def normal(n: int) -> Array:
        return rng.standard_normal((n, *input.shape)).astype(np.float32)

    groups: dict[str, npt.NDArray[np.floating[Any]]] = {
        _UNIFORM: draw_inputs(input, usual, seed),
        _NORMAL: middle + normal(usual) * half / 3,
        _CORNER: middle + half * np.sign(normal(rare)),
        _FLAT: middle + half * _levels(input),
        _FAINT: middle + half * _CONTRAST * normal(rare // 2),
        _BEYOND: middle + half * _REACH * normal(0 if whole else rare),
    }
    x = np.concatenate(list(groups.values())).astype(np.float32)
    kinds = tuple(kind for kind, group in groups.items() for _ in group)
    beyond = np.array([kind == _BEYOND for kind in kinds])
    x = np.where(beyond.reshape(-1, *(1 for _ in input.shape)), x, np.clip(x, low, high))
    return Probes((np.rint(x) if whole else x).astype(np.float32), kinds, beyond)


def _levels(input: InputSpec) -> Array:
    """`(3, *shape)`: all at the lowest, all in the middle, all at the highest, as -1, 0 and 1."""
    levels = np.array([-1.0, 0.0, 1.0], dtype=np.float32)
    return np.broadcast_to(levels.reshape(-1, *(1 for _ in input.shape)), (3, *input.shape)).copy()
