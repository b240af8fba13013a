from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.shapes import drop_dead_nodes, infer_shapes, refuse_huge_tensors, write_reshape_targets
from cake_onnx.graph.wiring import Wiring

COMPUTED_TARGET = """g (float[B, 2, 3] x) => (float[B, 6] y) {
     s = Shape(x)
     b = Slice(s, zero, one)
     t = Concat<axis = 0>(b, six)
     y = Reshape<allowzero = 1>(x, t)
}"""


def _computed_target(parse: Callable[..., ModelProto]) -> ModelProto:
    numbers = {
        name: np.array([value], dtype=np.int64) for name, value in [("zero", 0), ("one", 1), ("six", 6)]
    }
    return parse(COMPUTED_TARGET, **numbers)


def test_a_computed_reshape_target_is_written_down(parse: Callable[..., ModelProto]) -> None:
    result = write_reshape_targets(_computed_target(parse))
    wiring = Wiring(result.graph)
    node = wiring.maker["y"]
    target = wiring.constant(node.input[1])
    assert target is not None
    assert target.tolist() == [-1, 6]
    assert node.attribute[0].i == 0


def test_what_nobody_needs_is_dropped(parse: Callable[..., ModelProto]) -> None:
    result = drop_dead_nodes(write_reshape_targets(_computed_target(parse)))
    assert [node.op_type for node in result.graph.node] == ["Reshape"]
    assert len(result.graph.initializer) == 1


def test_shapes_survive_an_unknown_operator(linear: ModelProto) -> None:
    linear.graph.node[0].op_type = "NoSuchThing"
    assert infer_shapes(linear).graph.node[0].op_type == "NoSuchThing"


def test_an_absurd_tensor_is_refused_before_it_is_allocated(
    parse: Callable[..., ModelProto], draw: Callable[..., Any]
) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 4] y) {
             big = ConstantOfShape(size)
             m = ReduceMax<keepdims = 0>(big)
             y = Add(x, m)
        }""",
        size=np.array([1_000_000, 1_000_000], dtype=np.int64),
    )
    with pytest.raises(UnsupportedTeacherError, match="'big'"):
        refuse_huge_tensors(model)
