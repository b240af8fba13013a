from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.operators.integer import is_wide
from tests.graph.operators.whole_numbers import (
    FLOAT,
    SCALE,
    ZERO,
    Operand,
    X,
    compare_whole,
    draw_whole,
    single,
    whole_model,
)

Draw = Callable[..., Any]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("zeros", ["none", "one", "columns"])
def test_product(dtype: Any, zeros: str) -> None:
    weight = draw_whole(dtype, 20, 6)
    zero = {"none": None, "one": np.array(3, dtype=dtype), "columns": draw_whole(dtype, 6)}[zeros]
    compare_whole("MatMulInteger", [X, weight, ZERO, zero], shape=(5, 20), domain="")
    compare_whole("MatMulInteger", [X, weight, None, zero], shape=(5, 3, 20), domain="")


def test_a_long_sum_is_exact() -> None:
    weight = np.full((3000, 2), 127, dtype=np.int8)
    weight[::2, 1] = -127
    assert is_wide(torch.from_numpy(weight), None, 1)
    # Every sum of the first column ends far beyond what float32 counts one by one.
    found = compare_whole("MatMulInteger", [X, weight, np.array(0, np.uint8)], shape=(40, 3000), domain="")
    assert np.abs(found[:, 0]).min() > 2**24


def test_sums_are_wide_only_where_they_have_to_be() -> None:
    weight = torch.zeros(5000, 4)
    weight[:100] = 127
    assert is_wide(weight, None, 1) is False
    assert is_wide(weight, torch.tensor(100.0), 1) is True
    assert is_wide(weight, None, 1, torch.tensor([2**25])) is True
    assert is_wide(None, None, 1) is None


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((6, 4, 3, 3), {}),
        ((6, 4, 3, 2), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
        ((4, 1, 3, 3), {"group": 4, "auto_pad": "SAME_UPPER"}),
        ((6, 2, 3, 3), {"group": 2, "dilations": [2, 1]}),
    ],
)
def test_convolution(shape: tuple[int, ...], attributes: dict[str, Any]) -> None:
    weight = draw_whole(np.uint8, *shape)
    inputs: list[Operand] = [X, weight, ZERO, np.array(130, dtype=np.uint8)]
    compare_whole("ConvInteger", inputs, shape=(3, 4, 7, 8), domain="", **attributes)
    compare_whole("ConvInteger", inputs[:3], shape=(3, 4, 7, 8), domain="", **attributes)
    compare_whole("ConvInteger", inputs[:2], shape=(3, 4, 7, 8), domain="", **attributes)


def test_a_convolution_has_a_zero_point_for_each_filter() -> None:
    weight, zero = draw_whole(np.uint8, 5, 2, 3, 3), draw_whole(np.uint8, 5)
    whole = weight.astype(np.float32) - zero.reshape(5, 1, 1, 1)
    # onnxruntime takes only one zero point here.
    graph = whole_model(
        "ConvInteger",
        [X, weight, None, zero],
        shape=(2, 2, 6, 6),
        scale=1.0,
        zero=np.array(0, np.uint8),
        domain="",
        opset=17,
        attributes={"pads": [1, 1, 1, 1]},
    )
    x = torch.randint(0, 256, (2, 2, 6, 6)).float()
    wanted = torch.nn.functional.conv2d(x, torch.from_numpy(whole), padding=1)
    assert torch.equal(convert_graph(graph)(x), wanted)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_product_to_float(dtype: Any, draw: Draw) -> None:
    weight, scale = draw_whole(dtype, 20, 6), np.linspace(0.01, 0.02, 6, dtype=np.float32)
    zero = draw_whole(dtype, 6)
    inputs: list[Operand] = [X, weight, SCALE, scale, ZERO, zero, draw(6)]
    compare_whole("MatMulIntegerToFloat", inputs, shape=(5, 20), close=1e-6)
    compare_whole("MatMulIntegerToFloat", [X, weight, SCALE, single(0.01)], shape=(5, 20), close=1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_dynamic_product(dtype: Any, draw: Draw) -> None:
    weight, scale = draw_whole(dtype, 20, 6), np.linspace(0.01, 0.02, 6, dtype=np.float32)
    zero = draw_whole(dtype, 6)
    # The range is that of the whole batch, so one by one gives something else on purpose.
    inputs: list[Operand] = [FLOAT, weight, scale, zero, draw(6)]
    compare_whole("DynamicQuantizeMatMul", inputs, shape=(5, 20), close=1e-6, mapped=False)
    compare_whole(
        "DynamicQuantizeMatMul", [FLOAT, weight, single(0.01)], shape=(5, 20), close=1e-6, mapped=False
    )
