"""Sums of int8 products are exact on every processor, and where that needs an option it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto

from cake_onnx.config import Config
from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph import sums
from cake_onnx.graph.load import load_model
from cake_onnx.graph.reference import open_reference
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.sums import mixes_signs, sums_are_cut
from cake_onnx.teacher import load_teacher
from cake_onnx.validation import validate

RNG = np.random.default_rng(0)
SCALES: dict[str, Any] = {
    "s": np.float32(1 / 255), "z": np.uint8(0), "ws": np.float32(0.01), "wz": np.int8(0),
    "ms": np.float32(0.2), "mz": np.uint8(128),
}  # fmt: skip
"""Of the features, the weights and the product: scale and zero point."""


@pytest.fixture
def large_products(parse: Callable[..., ModelProto]) -> ModelProto:
    """A classifier whose features are near 255 and whose weights near 127, as a quantiser leaves a few."""
    weights = RNG.integers(-127, 128, (16, 4))
    weights[:, 0], weights[:, 1] = 127, -127
    return parse(
        """net (float[B, 16] x) => (float[B, 4] y) {
             q = QuantizeLinear(x, s, z)
             w = DequantizeLinear(wq, ws, wz)
             h = DequantizeLinear(q, s, z)
             m = MatMul(h, w)
             mq = QuantizeLinear(m, ms, mz)
             y = DequantizeLinear(mq, ms, mz)
        }""",
        wq=weights.astype(np.int8),
        **SCALES,
    )


def test_sums_are_whole(large_products: ModelProto) -> None:
    x = RNG.uniform(0.9, 1, (32, 16)).astype(np.float32)
    joined = open_session(large_products.SerializeToString()).run(None, {"x": x})[0]
    plain = open_session(large_products.SerializeToString(), optimised=False).run(None, {"x": x})[0]
    # One rounding of the last quantiser.
    np.testing.assert_allclose(joined, plain, atol=0.21)


def test_only_where_it_is_needed(large_products: ModelProto) -> None:
    """The question asked of the processor is the one that the model asks."""
    x = np.full((1, 16), 1, np.float32)
    default = ort.InferenceSession(large_products.SerializeToString(), providers=["CPUExecutionProvider"])
    exact = open_session(large_products.SerializeToString(), optimised=False)
    differs = np.abs(default.run(None, {"x": x})[0] - exact.run(None, {"x": x})[0]).max() > 1
    assert differs == sums_are_cut()


def test_a_teacher_of_whole_number_operators(large_products: ModelProto, tmp_path: Path) -> None:
    source, target = tmp_path / "pairs.onnx", tmp_path / "joined.onnx"
    onnx.save(large_products, source)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    assert any(node.op_type == "QLinearMatMul" for node in onnx.load(target).graph.node)
    assert load_teacher(target, input_range=(0, 1)).parity.top1_agreement == 1


@pytest.mark.skipif(not sums_are_cut(), reason="this processor adds whole numbers exactly")
def test_a_teacher_that_cannot_be_kept_from_it(parse: Callable[..., ModelProto], tmp_path: Path) -> None:
    """For QLinearMatMul of opset 21 onnxruntime's option does nothing."""
    weights = np.stack([np.full(16, 127), np.full(16, -127), RNG.integers(-127, 128, 16)], axis=1)
    model = parse(
        """net (float[B, 16] x) => (float[B, 3] y) {
             q = QuantizeLinear(x, s, z)
             m = QLinearMatMul(q, s, z, w, ws, wz, ms, mz)
             y = DequantizeLinear(m, ms, mz)
        }""",
        opset=21,
        w=weights.astype(np.int8),
        **SCALES,
    )
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(UnsupportedTeacherError, match="a processor with VNNI"):
        load_teacher(tmp_path / "net.onnx", input_range=(0, 1))


@pytest.mark.parametrize("cut", [True, False])
def test_it_is_told(
    cut: bool, large_products: ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(large_products, tmp_path / "net.onnx")
    monkeypatch.setattr(sums, "sums_are_cut", lambda: cut)
    remark = open_reference(load_model(tmp_path / "net.onnx")).remark
    assert ("session.x64quantprecision=1" in remark) == cut
    report = validate(tmp_path / "net.onnx", tmp_path / "net.onnx", Config(input_range=(0, 1)))
    told = [line for line in report.assumptions if "session.x64quantprecision=1" in line]
    assert [line.split(" was run ")[0] for line in told] == ["The teacher", "The student"] * cut


def test_models_of_one_sign_need_nothing(parse: Callable[..., ModelProto]) -> None:
    model = parse(
        "net (float[B, 2] x) => (float[B, 2] y) { w = DequantizeLinear(q, s)\n y = MatMul(x, w) }",
        q=np.ones((2, 2), np.int8),
        s=np.float32(0.1),
    )
    assert not mixes_signs(model)
