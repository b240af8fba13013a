from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graph.operators.whole_numbers import SCALE, ZERO, Operand, X, compare_whole, draw_whole, single

TYPES = [np.uint8, np.int8]


def zero_point(dtype: Any, value: int = 99) -> Any:
    return np.array(value if dtype == np.uint8 else value - 128, dtype=dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("other", [(30, 20), (30, 1), (1,)])
@pytest.mark.parametrize("scales", [(0.03, 0.021, 0.05), (0.02, 0.03, 0.04), (0.5, 0.5, 1.0)])
def test_pairs(dtype: Any, op: str, other: tuple[int, ...], scales: tuple[float, ...]) -> None:
    """The scales make halves, which go where the zero point says."""
    first, second, result = scales
    inputs = [X, SCALE, ZERO, draw_whole(dtype, *other), single(second), zero_point(dtype), single(result)]
    inputs.append(zero_point(dtype, 121))
    compare_whole(op, inputs, shape=(4, 30, 20), scale=first, zero=zero_point(dtype, 127))


def test_a_sum_of_two_computed_tensors() -> None:
    inputs = [X, SCALE, ZERO, X, SCALE, ZERO, single(0.06), zero_point(np.uint8)]
    compare_whole("QLinearAdd", inputs, shape=(4, 30))


@pytest.mark.parametrize("dtype", TYPES)
def test_activations(dtype: Any) -> None:
    inputs = [X, SCALE, ZERO, single(1 / 256), zero_point(dtype, 0)]
    compare_whole("QLinearSigmoid", inputs, shape=(4, 50), zero=zero_point(dtype))
    inputs = [X, SCALE, ZERO, single(0.02), zero_point(dtype)]
    compare_whole("QLinearLeakyRelu", inputs, shape=(4, 50), zero=zero_point(dtype), alpha=0.2)
    compare_whole("QLinearLeakyRelu", inputs, shape=(4, 50), zero=zero_point(dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("opset", "axis"), [(13, -1), (13, 1), (12, 1), (12, 2)])
def test_softmax(dtype: Any, opset: int, axis: int) -> None:
    inputs = [X, SCALE, ZERO, single(1 / 250.7), zero_point(dtype, 0)]
    options = {"shape": (4, 6, 10), "zero": zero_point(dtype), "scale": 0.05}
    compare_whole("QLinearSoftmax", inputs, axis=axis, opset=opset, **options)


@pytest.mark.parametrize("dtype", TYPES)
def test_concatenation(dtype: Any) -> None:
    inputs: list[Operand] = [single(0.05), zero_point(dtype), X, SCALE, ZERO, X, SCALE, ZERO]
    compare_whole("QLinearConcat", inputs, shape=(4, 5, 6), zero=zero_point(dtype), axis=1)
    part: list[Operand] = [draw_whole(dtype, 4, 2, 6), single(0.021), zero_point(dtype, 44)]
    compare_whole(
        "QLinearConcat", [*inputs[:5], *part], shape=(4, 5, 6), zero=zero_point(dtype), axis=1, mapped=False
    )


@pytest.mark.parametrize("dtype", TYPES)
def test_choice(dtype: Any) -> None:
    chosen = np.arange(30).reshape(5, 6) % 3 == 0
    other: list[Operand] = [draw_whole(dtype, 5, 6), single(0.021), zero_point(dtype)]
    inputs = [chosen, X, SCALE, ZERO, *other, single(0.06), zero_point(dtype, 121)]
    compare_whole("QLinearWhere", inputs, shape=(4, 5, 6), zero=zero_point(dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [2, 2], "strides": [2, 2], "channels_last": 1},
    ],
)
def test_average(dtype: Any, attributes: dict[str, Any]) -> None:
    inputs: list[Operand] = [X, SCALE, ZERO, SCALE, ZERO]
    options = {"shape": (3, 6, 10, 12), "zero": zero_point(dtype, 127), "flips": 0.02}
    compare_whole("QLinearAveragePool", inputs, **options, **attributes)
    inputs = [X, SCALE, ZERO, single(0.014), zero_point(dtype)]
    compare_whole("QLinearAveragePool", inputs, **options, **attributes)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels_last", [0, 1])
def test_global_average(dtype: Any, channels_last: int) -> None:
    inputs = [X, SCALE, ZERO, single(0.007), zero_point(dtype)]
    options = {"zero": zero_point(dtype), "channels_last": channels_last}
    compare_whole("QLinearGlobalAveragePool", inputs, shape=(5, 9, 7, 8), **options)
