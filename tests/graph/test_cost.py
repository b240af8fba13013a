from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch import nn

from cake_onnx.graph.convert import convert
from cake_onnx.graph.cost import activation_bytes, measure_cost, multiply_adds
from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.signature import read_signature

Parse = Callable[..., ModelProto]
COUNTS = {
    "linear": 4 * 3,
    "softmax_net": 4 * 8 + 8 * 3,
    "fixed_cnn": 16 * 2 * 9 + 32 * 3,
    "quantised_net": 4 * 3,
}


def _count(model: ModelProto) -> int:
    input, output = read_signature(model)
    return multiply_adds(prepare(model, input, output), input)


@pytest.mark.parametrize("name", COUNTS)
def test_products_are_counted_from_shapes(name: str, request: pytest.FixtureRequest) -> None:
    assert _count(request.getfixturevalue(name)) == COUNTS[name]


def test_groups_transposed_convolutions_and_contractions(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[B, 4, 5, 5] x) => (float[B, 3] y) {
             c = Conv<group = 4, pads = [1, 1, 1, 1]>(x, k)
             t = ConvTranspose(c, u)
             f = Flatten(t)
             y = Einsum<equation = "bi,ij->bj">(f, w)
        }""",
        k=draw(4, 1, 3, 3),
        u=draw(4, 2, 2, 2),
        w=draw(72, 3),
    )
    assert _count(model) == 4 * 25 * 9 + 4 * 25 * 2 * 4 + 72 * 3


def test_time_and_memory_are_those_of_a_sample(softmax_net: ModelProto) -> None:
    input, output = read_signature(softmax_net)
    prepared = prepare(softmax_net, input, output)
    cost = measure_cost(convert(prepared, input), prepared, input)
    assert cost.multiply_adds == COUNTS["softmax_net"]
    assert 0 < cost.forward_ms < 1e3
    assert 0 < cost.gradient_ms < 1e3
    assert cost.batch == 8
    assert cost.activation_bytes > 0


def test_activations_grow_with_the_batch_and_weights_do_not_count() -> None:
    module = nn.Sequential(nn.Linear(10, 1000), nn.Sigmoid(), nn.Linear(1000, 2)).requires_grad_(False)
    one, four = (activation_bytes(module, torch.ones(n, 10)) for n in (1, 4))
    assert one == 4 * 1000
    assert four == 4 * one


def test_a_mapped_body_is_counted_for_one_sample(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[1, 2, 3] x) => (float[1, 3] y) {
             s = Squeeze(x, first)
             t = Transpose(s)
             m = MatMul(t, w)
             u = ReduceSum<keepdims = 0>(m, first)
             y = Unsqueeze(u, first)
        }""",
        first=np.array([0]),
        w=draw(2, 3),
    )
    assert _count(model) == 3 * 3 * 2
