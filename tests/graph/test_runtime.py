from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.errors import RunFailedError, UnsupportedTeacherError, UsageError
from cake_onnx.graph.latency import latency
from cake_onnx.graph.runtime import as_declared, draw_inputs, open_session, probabilities, scores
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.specs import Bounds, InputSpec

Parse = Callable[..., ModelProto]


def _scores(model: ModelProto, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return scores(open_session(model.SerializeToString()), *read_signature(model), x)


def test_a_session_opens_from_bytes_and_from_a_file(linear: ModelProto, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(linear.SerializeToString())
    for source in (linear.SerializeToString(), tmp_path / "m.onnx"):
        assert open_session(source, threads=1).get_providers() == ["CPUExecutionProvider"]


def test_no_provider_is_replaced_by_another(linear: ModelProto) -> None:
    with pytest.raises(UsageError, match="NoSuchExecutionProvider"):
        open_session(linear.SerializeToString(), "NoSuchExecutionProvider")


def test_a_refusal_carries_the_first_line_of_onnxruntime() -> None:
    with pytest.raises(UnsupportedTeacherError, match="ONNXRuntimeError"):
        open_session(b"\x08\x08")


def test_without_onnxruntime_the_two_packages_are_named() -> None:
    code = """
import sys
sys.modules["onnxruntime"] = None
from cake_onnx.errors import UsageError
from cake_onnx.graph.runtime import open_session
try:
    open_session(b"")
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cake-onnx[cpu]" in done.stdout
    assert "cake-onnx[gpu]" in done.stdout


def test_scores_of_a_tensor(linear: ModelProto, draw: Callable[..., Any]) -> None:
    x = draw(5, 4)
    np.testing.assert_allclose(_scores(linear, x), x @ draw(4, 3), rtol=1e-5, atol=1e-6)


def test_a_fixed_batch_is_looped_over_and_padded(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse("g (float[2, 4] x) => (float[2, 3] y) { y = MatMul(x, w) }", w=draw(4, 3))
    x = draw(5, 4)
    np.testing.assert_allclose(_scores(model, x), x @ draw(4, 3), rtol=1e-5, atol=1e-6)


def test_a_single_probability_becomes_two_columns(sigmoid_net: ModelProto, draw: Callable[..., Any]) -> None:
    found = _scores(sigmoid_net, draw(5, 4))
    assert found.shape == (5, 2)
    np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-(draw(5, 4) @ draw(4, 1))[:, 0])), rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_maps_are_read_in_the_order_of_the_classes(parse: Parse) -> None:
    # onnxruntime sorts map keys, "10" before "9": the columns must follow the class list all the same.
    model = parse(
        """g (float[B, 3] x) => (seq(map(string, float)) m) {
             m = ai.onnx.ml.ZipMap<classlabels_strings = ["b", "9", "10"]>(x)
        }""",
        ml=1,
    )
    x = np.array([[1.0, 2.0, 3.0], [6.0, 5.0, 4.0]], dtype=np.float32)
    np.testing.assert_array_equal(_scores(model, x), x)


def test_integers_are_rounded_and_kept_within_their_type() -> None:
    bounds = Bounds((0.0,), (255.0,), "test", assumed=False)
    spec = InputSpec("x", (4,), "uint8", "flat", bounds)
    found = as_declared(np.array([[-3.0, 0.6, 254.4, 300.0]], dtype=np.float32), spec)
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 1, 254, 255]]


def test_draws_stay_within_bounds_per_channel() -> None:
    spec = InputSpec("x", (2, 3, 3), "float32", "NCHW", Bounds((0.0, 5.0), (1.0, 6.0), "test", assumed=False))
    drawn = draw_inputs(spec, 50, seed=3)
    assert drawn.shape == (50, 2, 3, 3)
    assert drawn[:, 0].min() >= 0
    assert drawn[:, 0].max() <= 1
    assert drawn[:, 1].min() >= 5
    assert drawn[:, 1].max() <= 6
    last = InputSpec("x", (3, 3, 2), "float32", "NHWC", spec.bounds)
    assert draw_inputs(last, 9, seed=3)[..., 1].min() >= 5


def test_probabilities() -> None:
    logits = np.array([[1.0, 2.0, 1000.0]], dtype=np.float32)
    np.testing.assert_allclose(probabilities(logits, "logits"), [[0, 0, 1]], atol=1e-6)
    assert probabilities(logits, "probabilities") is logits


def test_wrong_shapes_fail_with_a_message(linear: ModelProto, draw: Callable[..., Any]) -> None:
    with pytest.raises(RunFailedError, match="ONNXRuntimeError"):
        _scores(linear, draw(2, 5))


def test_latency_has_a_row_a_batch(linear: ModelProto, fixed_cnn: ModelProto) -> None:
    rows = latency(
        open_session(linear.SerializeToString()), read_signature(linear)[0], (1, 3), repeats=4, warm_up=1
    )
    assert [(row.batch, row.n) for row in rows] == [(1, 4), (3, 4)]
    assert all(0 < row.p10_ms <= row.median_ms <= row.p90_ms for row in rows)
    fixed = latency(open_session(fixed_cnn.SerializeToString()), read_signature(fixed_cnn)[0], repeats=2)
    assert [row.batch for row in fixed] == [1]
