from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, numpy_helper

from cake_onnx.graph.fold import fold_constants, store_constants


def test_constants_become_weights(parse: Callable[..., ModelProto]) -> None:
    model = parse("g (float[B] x) => (float[B] y) { c = Constant<value_float = 2.5>()\n y = Mul(x, c) }")
    result = store_constants(model)
    assert [node.op_type for node in result.graph.node] == ["Mul"]
    assert float(numpy_helper.to_array(result.graph.initializer[0])) == 2.5


def test_weights_behind_other_nodes_are_computed(
    parse: Callable[..., ModelProto], draw: Callable[..., Any]
) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 3] y) {
             t = Transpose<perm = [1, 0]>(w)
             i = Identity(t)
             y = MatMul(x, i)
        }""",
        w=draw(3, 4),
    )
    result = fold_constants(model)
    assert [node.op_type for node in result.graph.node] == ["MatMul"]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    np.testing.assert_array_equal(stored["i"], draw(3, 4).T)


def test_quantised_weights_are_unpacked_and_activations_are_not(quantised_net: ModelProto) -> None:
    kinds = [node.op_type for node in fold_constants(quantised_net).graph.node]
    assert kinds == ["QuantizeLinear", "DequantizeLinear", "MatMul"]


def test_random_nodes_stay(parse: Callable[..., ModelProto]) -> None:
    model = parse(
        """g (float[2] x) => (float[2] y) {
             r = RandomNormalLike(w)
             y = Add(x, r)
        }""",
        w=np.zeros(2, dtype=np.float32),
    )
    assert [node.op_type for node in fold_constants(model).graph.node] == ["RandomNormalLike", "Add"]
