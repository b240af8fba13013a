from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch import nn

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.operators.registry import MICROSOFT
from tests.graph.operators.conftest import node_model

Compare = Callable[..., Any]
Draw = Callable[..., Any]

OF_CONVOLUTIONS = [
    ("Relu", []),
    ("Tanh", []),
    ("Sigmoid", []),
    ("HardSwish", []),
    ("LeakyRelu", [0.2]),
    ("Clip", [-0.5, 0.7]),
    ("HardSigmoid", [0.3, 0.4]),
]
OF_PRODUCTS = [
    ("Relu", {}),
    ("Softplus", {}),
    ("Softsign", {}),
    ("Elu", {"activation_alpha": 0.5}),
    ("ThresholdedRelu", {"activation_alpha": 0.3}),
    ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}),
    ("Selu", {"activation_alpha": 1.2, "activation_gamma": 1.1}),
]


@pytest.mark.parametrize(("activation", "parameters"), OF_CONVOLUTIONS)
def test_fused_conv(activation: str, parameters: list[float], compare: Compare, draw: Draw) -> None:
    options: dict[str, Any] = {"domain": MICROSOFT, "activation": activation}
    if parameters:
        options["activation_params"] = parameters
    weight, other = draw(4, 3, 3, 3), draw(1, 4, 4, 4)
    compare("FusedConv", draw(2, 3, 6, 6), weight, draw(4), pads=[1, 0, 1, 0], **options)
    compare("FusedConv", draw(2, 3, 6, 6), weight, auto_pad="SAME_UPPER", strides=[2, 2], **options)
    compare("FusedConv", draw(1, 3, 6, 6), weight, draw(4), other, **options)
    compare("FusedConv", draw(1, 3, 6, 6), weight, None, other, **options)


@pytest.mark.parametrize(("activation", "parameters"), OF_PRODUCTS)
def test_fused_gemm(activation: str, parameters: dict[str, float], compare: Compare, draw: Draw) -> None:
    options = {"domain": MICROSOFT, "activation": activation, **parameters}
    compare("FusedGemm", draw(2, 4), draw(4, 3), draw(3), **options)
    compare("FusedGemm", draw(2, 4), draw(3, 4), draw(2, 3), transB=1, alpha=0.5, beta=0.3, **options)


def turned(draw: Draw, rows: int, columns: int, flip: int, batch: int) -> np.ndarray[Any, Any]:
    """A stack (2, 3) of matrices as an operand whose `trans` and `transBatch` attributes are these."""
    first, last = (columns, rows) if flip else (rows, columns)
    values: np.ndarray[Any, Any] = draw(first, 2, 3, last) if batch else draw(2, 3, first, last)
    return values


@pytest.mark.parametrize("flips", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("batches", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_fused_matmul(flips: tuple[int, int], batches: tuple[int, int], compare: Compare, draw: Draw) -> None:
    compare(
        "FusedMatMul",
        turned(draw, 4, 5, flips[0], batches[0]),
        turned(draw, 5, 6, flips[1], batches[1]),
        domain=MICROSOFT,
        transA=flips[0],
        transB=flips[1],
        transBatchA=batches[0],
        transBatchB=batches[1],
        alpha=0.7,
    )


def test_a_vector_is_not_transposed(compare: Compare, draw: Draw) -> None:
    compare("FusedMatMul", draw(2, 4), draw(4), domain=MICROSOFT, transB=1)
    compare("TransposeMatMul", draw(4, 2), draw(4, 3), domain=MICROSOFT, transA=1)


def fused_model(draw: Draw, op: str, weight: np.ndarray[Any, Any], **attributes: Any) -> ModelProto:
    shape = draw(*(2, *weight.shape[1:])).shape
    stored = [weight, draw(weight.shape[0])]
    return node_model(op, stored, opset=17, domain=MICROSOFT, outputs=1, shape=shape, attributes=attributes)


def test_stored_weights_become_layers_others_can_find(draw: Draw) -> None:
    conv = convert_graph(fused_model(draw, "FusedConv", draw(4, 3, 3, 3), activation="Relu"))
    assert sum(isinstance(layer, nn.Conv2d) for layer in conv.modules()) == 1
    gemm = convert_graph(fused_model(draw, "FusedGemm", draw(4, 3), activation="Relu", transB=1))
    assert sum(isinstance(layer, nn.Linear) for layer in gemm.modules()) == 1
    assert torch.all(gemm(torch.from_numpy(draw(2, 3))) >= 0)


@pytest.mark.parametrize(
    ("activation", "parameters"), [("Gelu", []), ("LeakyRelu", []), ("Relu", [0.1]), ("Clip", [1.0])]
)
def test_an_unknown_activation_is_refused(activation: str, parameters: list[float], draw: Draw) -> None:
    options: dict[str, Any] = {"activation_params": parameters} if parameters else {}
    model = fused_model(draw, "FusedConv", draw(4, 3, 3, 3), activation=activation, **options)
    with pytest.raises(UnsupportedTeacherError, match=f"fused activation {activation}"):
        convert_graph(model)
