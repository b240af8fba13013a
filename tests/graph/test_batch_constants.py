"""What a batch shares is stored once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, numpy_helper

from cake_onnx.graph.batch import free_single
from cake_onnx.graph.batch_constants import store_batch_constants, store_constants
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.specs import Bounds, InputSpec

Parse = Callable[..., ModelProto]
Draw = Callable[..., Any]
BOUNDS = Bounds((0.0,), (1.0,), "test", assumed=False)
ROWS = InputSpec("x", (4,), "float32", "flat", BOUNDS)
STEPS = InputSpec("x", (6, 4), "float32", "flat", BOUNDS)
TOKEN = """g (float[B, 4] x) => (float[B, 4] y) {
     n = Shape(x)
     zeros = ConstantOfShape(n)
     row = Add(zeros, t)
     y = Add(x, row)
}"""
STATE = """g (float[1, 6, 4] x) => (float[1, 5] y) {
     n = Shape(x)
     b = Gather<axis = 0>(n, first)
     size = Concat<axis = 0>(one, b, units)
     start = Expand(value, size)
     turned = Transpose<perm = [1, 0, 2]>(x)
     all, last = GRU<hidden_size = 5>(turned, w, r, , , start)
     y = Squeeze(last, axes)
}"""


def test_a_token_is_stored_as_one_row(parse: Parse, draw: Draw) -> None:
    model = parse(TOKEN, t=draw(4))
    stored = store_batch_constants(model, ROWS)
    assert [node.op_type for node in stored.graph.node] == ["Shape", "Gather", "Concat", "Expand", "Add"]
    rows = {tensor.name: numpy_helper.to_array(tensor) for tensor in stored.graph.initializer}
    np.testing.assert_array_equal(rows["row_row"], draw(4)[None])
    x = draw(7, 4)
    found = open_session(stored.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(found, x + draw(4))


def test_rows_that_differ_are_left_alone(parse: Parse) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 4] y) {
             n = Shape(x)
             b = Gather<axis = 0>(n, first)
             numbers = Range(zero, b, one)
             f = Cast<to = 1>(numbers)
             column = Unsqueeze(f, axes)
             y = Add(x, column)
        }""",
        first=np.array(0), zero=np.array(0), one=np.array(1), axes=np.array([1]),
    )  # fmt: skip
    assert [node.op_type for node in store_batch_constants(model, ROWS).graph.node] == [
        node.op_type for node in model.graph.node
    ]


def gru(parse: Parse, draw: Draw, start: float) -> ModelProto:
    return parse(
        STATE, w=draw(1, 15, 4), r=draw(1, 15, 5), value=np.array([start], dtype=np.float32),
        axes=np.array([0]), first=np.array([0]), one=np.array([1]), units=np.array([5]),
    )  # fmt: skip


def test_an_initial_state_of_zeros_is_left_out(parse: Parse, draw: Draw) -> None:
    model = gru(parse, draw, 0.0)
    plain = store_constants(model, STEPS)
    assert [node.op_type for node in plain.graph.node] == ["Transpose", "GRU", "Squeeze"]
    freed = free_single(model, STEPS)
    assert freed is not None
    x = draw(3, 6, 4)
    found = open_session(freed.SerializeToString()).run(None, {"x": x})[0]
    alone = [open_session(model.SerializeToString()).run(None, {"x": row[None]})[0] for row in x]
    np.testing.assert_allclose(found, np.concatenate(alone), rtol=1e-5, atol=1e-6)


def test_another_initial_state_is_kept(parse: Parse, draw: Draw) -> None:
    plain = store_constants(gru(parse, draw, 0.5), STEPS)
    assert numpy_helper.to_array(next(t for t in plain.graph.initializer if t.name == "start")).shape == (
        1,
        1,
        5,
    )
