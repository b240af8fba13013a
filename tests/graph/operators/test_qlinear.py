from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from tests.graph.operators.whole_numbers import (
    SCALE,
    ZERO,
    Operand,
    X,
    compare_whole,
    draw_whole,
    single,
    whole_model,
)

TYPES = [(np.uint8, np.int8), (np.uint8, np.uint8), (np.int8, np.int8)]
"""Types of activations and weights that onnxruntime multiplies."""


def zero_point(dtype: Any) -> Any:
    return np.array(111 if dtype == np.uint8 else -11, dtype=dtype)


@pytest.mark.parametrize(("dtype", "weights"), TYPES)
@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((6, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((6, 4, 3, 2), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
        ((4, 1, 3, 3), {"group": 4, "auto_pad": "SAME_LOWER"}),
        ((6, 2, 3, 3), {"group": 2, "dilations": [2, 1]}),
    ],
)
def test_convolution(dtype: Any, weights: Any, shape: tuple[int, ...], attributes: dict[str, Any]) -> None:
    weight, count = draw_whole(weights, *shape), shape[0]
    bias = np.random.default_rng(2).integers(-5000, 5000, count).astype(np.int32)
    middle = np.array(0 if weights == np.int8 else 128, dtype=weights)
    ends = [single(0.3), zero_point(dtype)]
    one = [X, SCALE, ZERO, weight, single(0.01), middle, *ends, bias]
    scales = np.linspace(0.005, 0.02, count, dtype=np.float32)
    each = [X, SCALE, ZERO, weight, scales, np.full(count, middle), *ends]
    common = {"shape": (3, 4, 8, 9), "zero": zero_point(dtype)}
    compare_whole("QLinearConv", one, domain="", **common, **attributes)
    compare_whole("QLinearConv", each, domain="", **common, **attributes)


def test_channels_last() -> None:
    # Halved: onnxruntime cannot keep larger sums whole on every processor for this operator.
    weight = draw_whole(np.int8, 6, 4, 3, 3) // 2
    inputs: list[Operand] = [
        X,
        SCALE,
        ZERO,
        weight,
        single(0.01),
        np.array(0, np.int8),
        single(0.3),
        zero_point(np.uint8),
    ]
    compare_whole("QLinearConv", inputs, shape=(3, 8, 9, 4), pads=[1, 1, 1, 1], channels_last=1)


@pytest.mark.parametrize("opset", [10, 21])
@pytest.mark.parametrize(("dtype", "weights"), TYPES)
def test_product(dtype: Any, weights: Any, opset: int) -> None:
    # Halved: onnxruntime cannot keep larger sums whole on every processor for the operator of opset 21.
    weight = draw_whole(weights, 20, 6) // (2 if opset > 20 else 1)
    ends = [single(0.3), zero_point(dtype)]
    common = {"domain": "", "imported": opset, "zero": zero_point(dtype)}
    one = [X, SCALE, ZERO, weight, single(0.01), np.array(3, weights), *ends]
    compare_whole("QLinearMatMul", one, shape=(5, 20), **common)
    compare_whole("QLinearMatMul", one, shape=(5, 3, 20), **common)
    scales = np.linspace(0.005, 0.02, 6, dtype=np.float32)
    each = [X, SCALE, ZERO, weight, scales, draw_whole(weights, 6), *ends]
    compare_whole("QLinearMatMul", each, shape=(5, 20), **common)


def test_product_of_two_computed_matrices() -> None:
    inputs: list[Operand] = [X, SCALE, ZERO, X, SCALE, ZERO, single(0.3), zero_point(np.uint8)]
    compare_whole("QLinearMatMul", inputs, shape=(5, 4, 4), domain="")


def test_a_long_product_rounds_as_onnxruntime_does() -> None:
    weight = draw_whole(np.int8, 4000, 3)
    inputs: list[Operand] = [
        X,
        SCALE,
        ZERO,
        weight,
        single(0.01),
        np.array(0, np.int8),
        single(5),
        zero_point(np.uint8),
    ]
    compare_whole("QLinearMatMul", inputs, shape=(20, 4000), domain="")


@pytest.mark.parametrize(("dtype", "weights"), TYPES)
def test_gemm(dtype: Any, weights: Any) -> None:
    weight, middle = draw_whole(weights, 20, 6), np.array(3, dtype=weights)
    bias = np.random.default_rng(2).integers(-5000, 5000, 6).astype(np.int32)
    ends = [single(0.3), zero_point(dtype)]
    common = {"shape": (5, 20), "zero": zero_point(dtype)}
    compare_whole("QGemm", [X, SCALE, ZERO, weight, single(0.01), middle, bias, *ends], **common)
    compare_whole("QGemm", [X, SCALE, ZERO, weight, single(0.01), middle, None, *ends], **common)
    compare_whole("QGemm", [X, SCALE, ZERO, weight, single(0.01), middle, bias], close=1e-6, **common)
    scales = np.linspace(0.005, 0.02, 6, dtype=np.float32)
    flipped = np.ascontiguousarray(weight.T)
    each = [X, SCALE, ZERO, flipped, scales, draw_whole(weights, 6), bias, *ends]
    compare_whole("QGemm", each, transB=1, alpha=0.7, **common)


def test_an_unknown_kind_of_result_is_declined() -> None:
    inputs: list[Operand] = [
        X,
        SCALE,
        ZERO,
        draw_whole(np.int8, 4, 4),
        single(1),
        np.array(0, np.int8),
        single(1),
        single(0),
    ]
    model = whole_model(
        "QLinearMatMul",
        inputs,
        shape=(2, 4),
        scale=1.0,
        zero=np.array(0, np.uint8),
        domain="",
        opset=17,
        attributes={},
    )
    with pytest.raises(UnsupportedTeacherError, match="quantisation to float"):
        convert_graph(model)
