"""Other tools take the student's file: onnxruntime's quantisation and NNCF, calibrated without data."""

from __future__ import annotations

from pathlib import Path

import nncf
import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import cake_onnx
from cake_onnx.config import Config
from cake_onnx.report.verdict import headline
from cake_onnx.synthesis import synthesize
from cake_onnx.validation import validate

RANGE = (0.0, 1.0)


class Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Samples one by one, as onnxruntime asks for them."""

    def __init__(self, name: str, x: np.ndarray) -> None:
        self._feeds = iter([{name: x[i : i + 1]} for i in range(len(x))])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


@pytest.fixture(scope="module")
def teacher() -> Path:
    return Path(__file__).resolve().parents[3] / "fixtures" / "digits_cnn.onnx"


@pytest.fixture(scope="module")
def student(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, distilled for a few rounds."""
    config = Config(input_range=RANGE, rounds=3, device="cpu")
    path = tmp_path_factory.mktemp("student") / "student.onnx"
    path.write_bytes(cake_onnx.compress(teacher, config, latency_provider=None).model)
    return path


@pytest.fixture(scope="module")
def samples(teacher: Path) -> np.ndarray:
    return synthesize(teacher, 100, Config(input_range=RANGE, device="cpu")).x.numpy()


def agreement(first: Path, second: Path) -> float:
    data = Path(__file__).resolve().parents[3] / "fixtures" / "digits_unit_test.npz"
    report = validate(
        first, second, Config(input_range=RANGE, device="cpu", eval=data), latency_provider=None
    )
    lead = headline(report)
    assert lead is not None
    return lead.agreement


def integers(path: Path) -> int:
    """How many numbers of the file are stored in 8 bits."""
    kinds = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    weights = onnx.load(path).graph.initializer
    return sum(int(np.prod(w.dims)) for w in weights if w.data_type in kinds)


def test_onnxruntime_quantises_the_student(student: Path, samples: np.ndarray, tmp_path: Path) -> None:
    [entry] = onnx.load(student).graph.input
    small = tmp_path / "int8.onnx"
    quantize_static(
        student,
        small,
        Calibration(entry.name, samples),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
    )
    assert integers(small) > 10_000
    assert small.stat().st_size < student.stat().st_size / 2
    assert agreement(student, small) > 0.95


def test_nncf_quantises_the_student(student: Path, samples: np.ndarray, tmp_path: Path) -> None:
    model = onnx.load(student)
    [entry] = model.graph.input
    data = nncf.Dataset(samples, lambda x: {entry.name: x[None]})
    small = tmp_path / "int8.onnx"
    onnx.save(nncf.quantize(model, data, subset_size=len(samples)), small)
    assert {"QuantizeLinear"} <= {node.op_type for node in onnx.load(small).graph.node}
    assert agreement(student, small) > 0.95
    props = {prop.key for prop in onnx.load(small).metadata_props}
    assert "cake_onnx.teacher_sha256" in props
