from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cake_onnx.graph.runtime import Array
from cake_onnx.graph.slopes import Differences, Slopes, compare_slopes, score_gradients, score_weights
from cake_onnx.graph.specs import Bounds, InputSpec

WEIGHTS = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32))
X = np.random.default_rng(1).uniform(-3, 3, (8, 6)).astype(np.float32)


def _logits(x: Tensor) -> Tensor:
    return (x @ WEIGHTS).tanh() + 0.1 * x[:, :3] ** 2


def _compared(
    module: Callable[[Tensor], Tensor], x: Array = X, dtype: str = "float32", *, coarse: bool = False
) -> Slopes:
    weights = score_weights(len(x), 3)
    gradient, _ = score_gradients(module, x, weights)
    assert gradient is not None
    spec = InputSpec("x", (6,), dtype, "flat", Bounds((-3.0,), (3.0,), "test", assumed=False))
    differences = Differences(lambda z: _logits(torch.from_numpy(z)).numpy(), spec, 1.0, 1e-5)
    return compare_slopes(differences, gradient, x, weights, coarse=coarse)


def test_right_gradients_match_along_and_across() -> None:
    slopes = _compared(_logits)
    assert slopes.along.max() < 0.02
    assert slopes.across.max() < 0.05
    assert (slopes.norms > 0).all()


def test_a_gradient_without_a_part_shows_only_across() -> None:
    slopes = _compared(lambda x: _logits(torch.cat([x[:, :3], x[:, 3:].detach()], dim=1)))
    assert slopes.along.max() < 0.02
    assert np.sqrt(np.mean(slopes.across**2)) > 0.3


def test_a_wrong_length_shows_along() -> None:
    slopes = _compared(lambda x: 1.5 * _logits(x))
    np.testing.assert_allclose(slopes.along, 0.5 / 1.5, atol=0.03)


def test_no_gradient_where_there_should_be_one_shows_across() -> None:
    keep = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0]).reshape(-1, 1)
    slopes = _compared(lambda x: _logits(x) * keep)
    assert np.isnan(slopes.along[1:]).all()
    assert np.sqrt(np.mean(slopes.across[1:] ** 2)) > 0.3


def test_slopes_below_rounding_are_not_measured() -> None:
    slopes = _compared(lambda x: 1e-9 * _logits(x))
    assert np.isnan(slopes.along).all()


def test_steps_of_whole_numbers_are_whole() -> None:
    slopes = _compared(_logits, np.rint(X), "int8")
    assert np.isfinite(slopes.along).all()


def test_scores_are_sums_and_single_classes() -> None:
    weights = score_weights(8, 3)
    assert (weights[:4] != 0).all()
    assert (weights[4:].sum(axis=1) == 1).all()
    assert set(weights[4:].argmax(axis=1)) == {0, 1, 2}


def test_logits_without_gradient_are_told() -> None:
    gradient, logits = score_gradients(lambda x: _logits(x).detach(), X, score_weights(8, 3))
    assert gradient is None
    assert logits.shape == (8, 3)


def test_no_gradient_anywhere_measures_nothing() -> None:
    slopes = _compared(lambda x: 0 * _logits(x))
    assert np.isnan(slopes.along).all()
    assert np.isnan(slopes.across).all()
