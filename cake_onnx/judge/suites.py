"""Samples to judge on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Role = Literal["user", "held-out", "baseline", "other"]


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
