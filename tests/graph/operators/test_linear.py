from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto
from torch import nn

from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize("opset", [7, 9, 11, 13])
@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, -2.0)])
def test_gemm(opset: int, flip: int, alpha: float, beta: float, compare: Compare, draw: Draw) -> None:
    weight = draw(3, 4) if flip else draw(4, 3)
    compare("Gemm", draw(2, 4), weight, draw(3), opset=opset, transB=flip, alpha=alpha, beta=beta)


@pytest.mark.parametrize("bias", [(1,), (1, 3), (3, 1), (3, 3), ()])
def test_a_bias_of_any_shape(bias: tuple[int, ...], compare: Compare, draw: Draw) -> None:
    value = np.asarray(draw(*bias), dtype=np.float32)
    compare("Gemm", draw(3, 4), draw(4, 3), value, beta=0.5)


def test_no_bias_and_a_turned_input(compare: Compare, draw: Draw) -> None:
    compare("Gemm", draw(2, 4), draw(4, 3))
    compare("Gemm", draw(4, 2), draw(4, 3), transA=1)


def test_a_stored_weight_becomes_a_layer(softmax_net: ModelProto) -> None:
    layers = [module for module in convert_graph(softmax_net).modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(4, 8), (8, 3)]


@pytest.mark.parametrize("opset", [1, 9, 13])
def test_matmul_of_any_rank(opset: int, compare: Compare, draw: Draw) -> None:
    for left, right in (
        ((2, 4), (4, 3)),
        ((2, 5, 4), (4, 3)),
        ((2, 5, 4), (2, 4, 3)),
        ((2, 3, 5, 4), (4,)),
        ((4,), (4, 3)),
        ((4,), (2, 4, 3)),
        ((2, 4), (3, 4, 5)),
    ):
        compare("MatMul", draw(*left), draw(*right), opset=opset)
