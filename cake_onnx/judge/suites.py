"""Samples to judge on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Role = Literal["user", "held-out", "baseline", "other"]
_LEADING: tuple[Role, ...] = ("user", "held-out", "other", "baseline")


@dataclass(frozen=True)
class Suite:
    """Samples to compare on.

    Attributes:
        name: What kind of samples, for people.
        role: `held-out` and `user` may lead the verdict, `baseline` stands beside it.
        x: `(B, *shape)` in the teacher's input units.
    """

    name: str
    role: Role
    x: FloatArray


def leading_first(role: Role, agreement: float) -> tuple[int, float]:
    """Key by which what leads the verdict is the least: the user's data, else held-out samples, else others.

    Of several kinds of held-out samples the one with the least agreement leads: what is said must not be more
    than what is true on real data.
    """
    return _LEADING.index(role), agreement
