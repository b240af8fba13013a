from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from cake_onnx.graph.float32 import as_float32, without_rounding
from cake_onnx.graph.runtime import open_session

Parse = Callable[..., ModelProto]


def test_a_half_model_becomes_a_float_one(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[B, 4] x) => (float16[B, 3] y) {
             h = Cast<to = 10>(x)
             y = MatMul(h, w)
        }""",
        w=draw(4, 3).astype(np.float16),
    )
    wide = as_float32(model)
    x = draw(5, 4)
    found = open_session(wide.SerializeToString()).run(None, {"x": x})[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, x @ draw(4, 3).astype(np.float16).astype(np.float32), rtol=1e-5)
    assert model.graph.initializer[0].data_type == TensorProto.FLOAT16


QUANTISED = """g (float[B, 4] x) => (float[B, 3] y) {
     q = QuantizeLinear(x, s, z)
     d = DequantizeLinear(q, s, z)
     y = MatMul(d, w)
}"""


@pytest.mark.parametrize(("zero", "low", "high"), [(0, 0.0, 2.55), (128, -1.28, 1.27)])
def test_rounding_becomes_clipping(
    zero: int, low: float, high: float, parse: Parse, draw: Callable[..., Any]
) -> None:
    scale, point = np.float32(0.01), np.uint8(zero)
    model = parse(QUANTISED, w=draw(4, 3), s=np.asarray(scale), z=np.asarray(point))
    smooth = without_rounding(model)
    assert smooth is not None
    assert {node.op_type for node in smooth.graph.node} == {"Clip", "MatMul"}
    # onnxruntime warns of every number that nothing reads.
    assert {tensor.name for tensor in smooth.graph.initializer} == {"w", "q_low", "q_high"}
    x = 3 * draw(50, 4)
    found = open_session(smooth.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, x.clip(low, high) @ draw(4, 3), rtol=1e-4, atol=1e-5)
    rounded = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    assert 0 < np.abs(found - rounded).max() < 0.05


def test_what_is_rounded_once_and_read_twice_is_clipped_once(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 4] y, float[B, 4] seen) {
             q = QuantizeLinear(x, s, z)
             d = DequantizeLinear(q, s, z)
             seen = DequantizeLinear(q, s, z)
             y = MatMul(d, w)
        }""",
        w=draw(4, 4),
        s=np.asarray(np.float32(0.01)),
        z=np.asarray(np.uint8(0)),
    )
    smooth = without_rounding(model)
    assert smooth is not None
    assert [(node.op_type, *node.output) for node in smooth.graph.node] == [("Clip", "seen"), ("MatMul", "y")]
    x = 3 * draw(50, 4)
    y, seen = open_session(smooth.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(seen, x.clip(0, 2.55), rtol=1e-6)
    np.testing.assert_allclose(y, seen @ draw(4, 4), rtol=1e-4, atol=1e-5)


def test_other_ways_of_quantising_are_left_alone(parse: Parse, draw: Callable[..., Any]) -> None:
    """The sums of whole numbers are cut off before they become floats."""
    computed = parse(
        """g (float[B, 4] x) => (float[B, 3] y) {
             q, s, z = DynamicQuantizeLinear(x)
             i = MatMulInteger(q, w, z)
             c = Abs(i)
             f = Cast<to = 1>(c)
             y = Mul(f, s)
        }""",
        w=np.ones((4, 3), dtype=np.int8),
    )
    assert without_rounding(computed) is None


def test_ranges_found_at_run_time_are_not_needed(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 3] y) {
             q, s, z = DynamicQuantizeLinear(x)
             i = MatMulInteger(q, w, z, v)
             f = Cast<to = 1>(i)
             both = Mul(s, t)
             y = Mul(f, both)
        }""",
        w=np.array([[1, -2, 3], [4, 5, -6], [7, 8, 9], [-1, 0, 1]], dtype=np.int8),
        v=np.array([1, 0, -1], dtype=np.int8),
        t=np.array([0.5, 0.25, 0.125], dtype=np.float32),
    )
    smooth = without_rounding(model)
    assert smooth is not None
    assert [node.op_type for node in smooth.graph.node] == ["MatMul"]
    x = draw(50, 4)
    found = open_session(smooth.SerializeToString()).run(None, {"x": x})[0]
    rounded = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    assert 0 < np.abs(found - rounded).max() < 0.02 * np.abs(rounded).max()


def test_old_opsets_are_clipped_too(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        QUANTISED, opset=10, w=draw(4, 3), s=np.asarray(np.float32(0.01)), z=np.asarray(np.uint8(0))
    )
    smooth = without_rounding(model)
    assert smooth is not None
    x = 3 * draw(50, 4)
    found = open_session(smooth.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, x.clip(0, 2.55) @ draw(4, 3), rtol=1e-4, atol=1e-5)
