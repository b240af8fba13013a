from __future__ import annotations

from pathlib import Path

import pytest
from onnxruntime.quantization import quantize_dynamic

from cake_onnx.config import Config
from cake_onnx.errors import UsageError
from cake_onnx.validation import validate


def test_latency_is_measured_where_asked_or_not_at_all(fixtures: Path) -> None:
    teacher, config = fixtures / "moons_mlp.onnx", Config(device="cpu")
    assert {row.provider for row in validate(teacher, teacher, config).student.latency} == {
        "CPUExecutionProvider"
    }
    untimed = validate(teacher, teacher, config, latency_provider=None)
    assert untimed.student.latency == untimed.teacher.latency == ()
    with pytest.raises(UsageError, match="NoSuchExecutionProvider"):
        validate(teacher, teacher, config, latency_provider="NoSuchExecutionProvider")


def test_a_quantised_file_is_called_so(fixtures: Path, tmp_path: Path) -> None:
    original, quantised = fixtures / "moons_mlp.onnx", tmp_path / "int8.onnx"
    quantize_dynamic(original, quantised)
    report = validate(original, quantised, Config(device="cpu"), latency_provider=None)
    assert (report.teacher.quantised, report.student.quantised) == (False, True)
    assert ", quantised although its teacher is not, and agrees" in report.verdict
