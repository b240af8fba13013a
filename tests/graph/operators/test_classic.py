from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Compare = Callable[..., Any]
Draw = Callable[..., Any]
ML = "ai.onnx.ml"


def test_scaler(compare: Compare, draw: Draw) -> None:
    compare("Scaler", draw(3, 2), domain=ML, offset=[1.0, -2.0], scale=[0.5, 3.0])
    compare("Scaler", draw(3, 2), domain=ML, offset=[1.0], scale=[0.5])


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizer(norm: str, compare: Compare, draw: Draw) -> None:
    compare("Normalizer", np.abs(draw(4, 3)), domain=ML, norm=norm)


def test_a_row_of_zeros_stays_one(compare: Compare) -> None:
    x = np.array([[0.0, 0.0], [3.0, 4.0]], dtype=np.float32)
    compare("Normalizer", x, domain=ML, norm="L2", gradient=False)
