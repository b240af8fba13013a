from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cake_onnx.errors import UnsupportedTeacherError

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


@pytest.mark.parametrize("filling", [[5.0, -1.0, 2.0], [7.0]])
@pytest.mark.parametrize("mark", [float("nan"), -3.0])
def test_imputer_fills_gaps(mark: float, filling: list[float], compare: Compare, draw: Draw) -> None:
    x = draw(4, 3)
    x[1, 2] = x[3, 0] = mark
    options = {"imputed_value_floats": filling, "replaced_value_float": mark}
    filled = compare("Imputer", x, domain=ML, gradient=False, **options)
    assert filled[1, 2] == filling[-1]


def test_binarizer_passes_a_gradient(compare: Compare, draw: Draw) -> None:
    assert set(np.unique(compare("Binarizer", draw(4, 3), domain=ML, threshold=0.2))) == {0.0, 1.0}


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
def test_linear_regressor_of_several_targets(post: str, compare: Compare, draw: Draw) -> None:
    weights = {"coefficients": draw(6).tolist(), "intercepts": [0.5, -1.0], "targets": 2}
    compare("LinearRegressor", draw(4, 3), domain=ML, post_transform=post, **weights)


def test_linear_regressor_of_one_target(compare: Compare, draw: Draw) -> None:
    compare("LinearRegressor", draw(4, 3), domain=ML, coefficients=[1.0, 2.0, -1.0], intercepts=[0.5])


def test_an_unknown_transform_is_refused(compare: Compare, draw: Draw) -> None:
    weights = {"coefficients": draw(6).tolist(), "targets": 2, "intercepts": [0.5, -1.0]}
    with pytest.raises(UnsupportedTeacherError, match="post_transform=PROBIT"):
        compare("LinearRegressor", draw(4, 3), domain=ML, post_transform="PROBIT", **weights)
