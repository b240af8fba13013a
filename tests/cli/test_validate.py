"""`validate`: the verdict on any two files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema

from tests.cli.conftest import Command


def test_a_teacher_agrees_with_itself(fixtures: Path, cake: Command, tmp_path: Path, root: Path) -> None:
    teacher = fixtures / "moons_mlp.onnx"
    words = ["--eval", fixtures / "moons_test.npz", "--min-agreement", "100%", "--json", "-q"]
    answer = cake("validate", teacher, teacher, *words)
    assert (answer.code, answer.err) == (0, "")
    report = json.loads(answer.out)
    schema = json.loads((root / "docs" / "report.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(report)
    assert {entry["agreement"] for entry in report["fidelity"]} == {1.0}
    assert report["accuracy"]["teacher"] == report["accuracy"]["student"] > 0.95
    assert report["fidelity"][0]["n"] == 600
    assert not list(tmp_path.iterdir())


def test_a_student_is_judged_as_in_its_own_report(
    compressed: Callable[[str], Path], fixtures: Path, cake: Command
) -> None:
    folder, teacher = compressed("digits_mlp_sklearn"), fixtures / "digits_mlp_sklearn.onnx"
    own = json.loads((folder / "report.json").read_text("utf-8"))
    words = ["--eval", fixtures / "digits_raw_test.npz", "--min-agreement", "0.999"]
    answer = cake("validate", teacher, folder / "model.onnx", *words, "--json")
    assert answer.code == 1
    assert "Judging in onnxruntime" in answer.err
    report = json.loads(answer.out)
    assert report["accuracy"] == own["accuracy"]
    assert report["fidelity"][0]["agreement"] == own["fidelity"][0]["agreement"] < 0.999
    assert report["student"]["parameters"] == own["student"]["parameters"]
    table = cake("validate", teacher, folder / "model.onnx", *words, "-q").out
    assert "not good enough" in table
    assert "Accuracy, digits_raw_test.npz" in table


def test_two_of_different_shape_are_refused(fixtures: Path, cake: Command) -> None:
    answer = cake("validate", fixtures / "digits_cnn.onnx", fixtures / "digits_mlp_sklearn.onnx")
    assert (answer.code, answer.out) == (2, "")
    assert "found [64] in and 10 classes out in digits_mlp_sklearn.onnx" in answer.err
