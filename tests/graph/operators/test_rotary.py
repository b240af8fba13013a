from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Compare = Callable[..., Any]
Draw = Callable[..., Any]
PLACES = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


@pytest.mark.parametrize("interleaved", [0, 1])
def test_onnx(interleaved: int, compare: Compare, draw: Draw) -> None:
    tables = draw(10, 2), draw(11, 2)[:10]
    each = {"opset": 23, "interleaved": interleaved}
    compare("RotaryEmbedding", draw(2, 3, 5, 4), *tables, PLACES, **each)
    compare("RotaryEmbedding", draw(2, 5, 12), *tables, PLACES, num_heads=3, **each)
    compare("RotaryEmbedding", draw(2, 3, 5, 6), *tables, PLACES, rotary_embedding_dim=4, **each)
    compare("RotaryEmbedding", draw(2, 3, 5, 4), draw(2, 5, 2), draw(2, 5, 2) + 1, **each)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("places", [PLACES, np.array([2])])
def test_microsoft(places: Any, interleaved: int, compare: Compare, draw: Draw) -> None:
    tables = draw(10, 2), draw(11, 2)[:10]
    each = {"domain": "com.microsoft", "interleaved": interleaved}
    compare("RotaryEmbedding", draw(2, 5, 12), places, *tables, **each)
    compare("RotaryEmbedding", draw(2, 3, 5, 4), places, *tables, **each)
    part = {"num_heads": 3, "rotary_embedding_dim": 4}
    compare("RotaryEmbedding", draw(2, 5, 18), places, *tables, **part, **each)
