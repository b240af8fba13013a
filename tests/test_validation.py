from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
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


MIDDLES = """
import torch

class Middles:
    def __init__(self, input):
        self.shape = input.shape
    def draw(self, n, generator):
        return 0.5 + torch.rand(n, *self.shape, generator=generator) / 100
"""


@pytest.fixture
def forest(tmp_path: Path) -> Path:
    """A classifier without a gradient, as scikit-learn's exporter writes it."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    x = np.random.default_rng(0).random((300, 2), dtype=np.float32)
    model = RandomForestClassifier(3, random_state=0).fit(x, (x[:, 0] > 0.5).astype(int))
    onnx.save(to_onnx(model, x[:1], options={"zipmap": False}), tmp_path / "forest.onnx")
    return tmp_path / "forest.onnx"


def test_a_teacher_without_a_gradient_is_compared_on_the_prior_that_was_asked_for(
    forest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (forest.parent / "of_middles.py").write_text(MIDDLES)
    monkeypatch.chdir(forest.parent)
    monkeypatch.setattr("sys.path", ["", *sys.path])

    def spread(prior: str) -> tuple[str, list[int], str | None]:
        config = Config(device="cpu", prior=prior, input_range=(0, 1))
        report = validate(forest, forest, config, latency_provider=None)
        classes = [entry.n for entry in report.fidelity[0].per_class]
        return report.assumptions[-1], classes, report.run.own_prior

    told, classes, own = spread("auto")
    assert told.startswith("Samples start from the tabular prior; the teacher has no gradient")
    assert min(classes) > 200
    assert own is None
    told, _, own = spread("uniform")
    assert told.startswith("Samples start from the uniform prior")
    told, classes, own = spread("of_middles:Middles")
    assert told.startswith("Samples start from the of_middles:Middles prior")
    assert max(classes) > 900
    assert own == "of_middles:Middles"
