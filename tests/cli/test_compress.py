"""`compress` from file to files, on every shipped teacher."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest

from tests.cli.conftest import SHORT, Command

TEACHERS = ("digits_cnn", "digits_mlp_sklearn", "digits_softmax_dynamo", "moons_mlp")
FILES = {"model.onnx", "report.json", "report.html", "MODEL_CARD.md", "config.toml"}


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def signature(path: Path) -> list[tuple[str, str, list[Any]]]:
    opened = session(path)
    return [(entry.name, entry.type, entry.shape) for entry in (*opened.get_inputs(), *opened.get_outputs())]


def timeless(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what a clock measured."""
    report["run"].pop("seconds")
    for model in ("teacher", "student"):
        report[model].pop("latency")
    return report


def test_every_shipped_teacher_is_here(manifest: dict[str, Any]) -> None:
    assert {f"{name}.onnx" for name in TEACHERS} == set(manifest)


@pytest.mark.parametrize("name", TEACHERS)
def test_folder_holds_exactly_the_five_files(name: str, compressed: Callable[[str], Path]) -> None:
    assert {path.name for path in compressed(name).iterdir()} == FILES


@pytest.mark.parametrize("name", TEACHERS)
def test_student_has_the_signature_of_its_teacher(
    name: str, compressed: Callable[[str], Path], fixtures: Path
) -> None:
    student = compressed(name) / "model.onnx"
    onnx.checker.check_model(onnx.load(student), full_check=True)
    assert signature(student) == signature(fixtures / f"{name}.onnx")


@pytest.mark.parametrize("name", TEACHERS)
def test_an_application_can_swap_teacher_and_student(
    name: str, compressed: Callable[[str], Path], fixtures: Path, manifest: dict[str, Any]
) -> None:
    x = np.load(fixtures / manifest[f"{name}.onnx"]["test"])["x"]
    teacher, student = session(fixtures / f"{name}.onnx"), session(compressed(name) / "model.onnx")
    entry = teacher.get_inputs()[0].name
    for batch in (1, 7):
        answers = [model.run(None, {entry: x[:batch]}) for model in (teacher, student)]
        for expected, found in zip(*answers, strict=True):
            if isinstance(expected, list):
                assert [set(row) for row in found] == [set(row) for row in expected]
                table = np.array([[row[key] for key in sorted(row)] for row in found])
                assert np.allclose(table.sum(1), 1, atol=1e-5)
            else:
                assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if len(answers[1]) == 2:
        label, scores = answers[1]
        table = (
            np.array([[row[key] for key in sorted(row)] for row in scores]) if name != "moons_mlp" else scores
        )
        assert np.array_equal(label, table.argmax(1))


@pytest.mark.parametrize("name", TEACHERS)
def test_report_follows_the_published_schema(
    name: str, compressed: Callable[[str], Path], root: Path
) -> None:
    report = json.loads((compressed(name) / "report.json").read_text("utf-8"))
    schema = json.loads((root / "docs" / "report.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(report)
    assert report["accuracy"]["n"] == report["fidelity"][0]["n"] > 500
    assert report["run"]["rounds"] == 2


@pytest.mark.parametrize("name", TEACHERS)
def test_the_written_options_repeat_the_run(
    name: str, compressed: Callable[[str], Path], fixtures: Path, cake: Command, tmp_path: Path
) -> None:
    first, again = compressed(name), tmp_path / "again"
    words = ["--config", first / "config.toml", "-o", again, "-q"]
    assert cake("compress", fixtures / f"{name}.onnx", *words).code == 0
    for file in ("model.onnx", "config.toml", "MODEL_CARD.md"):
        assert (again / file).read_bytes() == (first / file).read_bytes()
    reports = [json.loads((folder / "report.json").read_text("utf-8")) for folder in (first, again)]
    assert timeless(reports[0]) == timeless(reports[1])


def test_report_tells_the_widths_of_the_student_that_was_written(compressed: Callable[[str], Path]) -> None:
    folder = compressed("digits_cnn")
    told = json.loads((folder / "report.json").read_text("utf-8"))["student"]["widths"]
    sizes = [
        tensor.dims[0]
        for tensor in onnx.load(folder / "model.onnx").graph.initializer
        if len(tensor.dims) in (2, 4)
    ]
    assert [entry["layers"] for entry in told] == [["0"], ["2"], ["5"], ["9"]]
    assert [entry["teacher"] for entry in told] == [32, 32, 64, 64]
    assert [entry["student"] for entry in told] == sizes[:-1]
    assert sum(sizes[:-1]) < 150


def test_verbose_tells_the_widths(fixtures: Path, cake: Command) -> None:
    words = ("--rounds", "2", "-o", "out")
    told = cake("compress", fixtures / "moons_mlp.onnx", *words, "-v").err
    assert re.search(r"^width of MatMul: \d+ of 32$", told, re.MULTILINE)
    assert re.search(r"^width of MatMul1: \d+ of 16$", told, re.MULTILINE)
    other = cake("compress", fixtures / "moons_mlp.onnx", *words, "-v", "--student", "mlp", "--overwrite")
    assert "width of" not in other.err


def test_a_quantised_student_has_its_float_form_beside_it(
    fixtures: Path, cake: Command, tmp_path: Path
) -> None:
    teacher, words = fixtures / "digits_cnn.onnx", ("--rounds", "2", "-o", "out", "-q")
    told = cake("compress", teacher, *words, "--quantize", "int8")
    assert told.code == 0
    assert re.search(r"Student in float32 .* kB, .* ms for 64 +same class on [\d.]+%, n = ", told.out)
    assert "quantised although its teacher is not" in told.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES | {"model-float32.onnx"}
    sizes = [(tmp_path / "out" / name).stat().st_size for name in ("model.onnx", "model-float32.onnx")]
    assert sizes[0] < 0.6 * sizes[1]
    assert signature(tmp_path / "out/model.onnx") == signature(teacher)
    report = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    assert (report["student"]["bytes"], report["rounding"]["bytes"]) == tuple(sizes)
    assert report["student"]["quantised"]
    assert report["rounding"]["agreement"] > 0.9
    assert [entry["batch"] for entry in report["rounding"]["latency"]] == [1, 8, 64]
    again = cake("compress", teacher, *words, "--quantize", "int8")
    assert (again.code, again.out) == (told.code, told.out)
    plain = cake("compress", teacher, *words, "--overwrite")
    assert plain.code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert (tmp_path / "out/model.onnx").stat().st_size == sizes[1]


def test_another_seed_gives_another_student(
    compressed: Callable[[str], Path], fixtures: Path, cake: Command, tmp_path: Path
) -> None:
    words = ["--config", compressed("moons_mlp") / "config.toml", "--seed", "1", "-o", "other", "-q"]
    assert cake("compress", fixtures / "moons_mlp.onnx", *words).code == 0
    assert (tmp_path / "other/model.onnx").read_bytes() != (
        compressed("moons_mlp") / "model.onnx"
    ).read_bytes()


def test_json_is_the_report_and_quiet_is_silent(fixtures: Path, cake: Command, tmp_path: Path) -> None:
    answer = cake("compress", fixtures / "moons_mlp.onnx", "--json", *SHORT)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (tmp_path / "moons_mlp-cake/report.json").read_text("utf-8")


def test_table_goes_to_stdout_and_progress_to_stderr(fixtures: Path, cake: Command) -> None:
    answer = cake("compress", fixtures / "moons_mlp.onnx", "--rounds", "2", "-o", "out")
    assert answer.out.split()[:2] == ["teacher", "student"]
    rows = ("File size", "Parameters", "Latency, batch 1", "Agreement, held-out", "The files are in out")
    for row in rows:
        assert f"\n{row}" in answer.out
    assert "Teaching the student  1/2" in answer.err
    assert "-3 to 3 was assumed" in answer.err
    assert "student mlp of" not in answer.err


def test_verbose_tells_what_was_chosen_and_why(fixtures: Path, cake: Command) -> None:
    answer = cake("compress", fixtures / "moons_mlp.onnx", "--dry-run", "-v")
    assert "student like-teacher of 160 parameters: the teacher's own graph can be narrowed" in answer.err
    assert cake("compress", fixtures / "moons_mlp.onnx", "--dry-run").err == ""


def test_verbose_shows_where_an_error_came_from(fixtures: Path, cake: Command) -> None:
    answer = cake("compress", fixtures / "README.md", "-qv")
    assert (answer.code, answer.out) == (3, "")
    assert "Traceback" in answer.err


def test_dry_run_tells_the_plan_and_writes_nothing(fixtures: Path, cake: Command, tmp_path: Path) -> None:
    answer = cake("compress", fixtures / "digits_cnn.onnx", "--dry-run", "--json", "--rounds", "5")
    assert (answer.code, answer.err) == (0, "")
    plan = json.loads(answer.out)
    assert plan["student"].startswith("like-teacher of ")
    assert plan["plan"].startswith("5 rounds")
    assert plan["writes"] == "digits_cnn-cake: would be written"
    assert "samples by the image prior" in plan["range"]
    assert not list(tmp_path.iterdir())


def test_dry_run_tells_the_prior_that_was_named(fixtures: Path, cake: Command) -> None:
    answer = cake("compress", fixtures / "digits_cnn.onnx", "--dry-run", "--json", "--prior", "uniform")
    assert "samples by the uniform prior, it was named by --prior" in json.loads(answer.out)["range"]


def test_a_missed_agreement_is_told_marked_and_written(fixtures: Path, cake: Command, tmp_path: Path) -> None:
    words = ["--eval", fixtures / "moons_test.npz", "--min-agreement", "1.0", "-o", "out"]
    answer = cake("compress", fixtures / "moons_mlp.onnx", *words, *SHORT)
    assert answer.code == 1
    assert "not good enough: agreement on your data (wanted >= 100.00%" in answer.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    report = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    assert [gate["passed"] for gate in report["gates"]] == [False]
    assert cake("compress", fixtures / "moons_mlp.onnx", *words, *SHORT).code == 1


def test_as_published(fixtures: Path, cake: Command, tmp_path: Path) -> None:
    words = ["--method", "paper", "--langevin", "--rounds", "1", "-q", "--json"]
    report = json.loads(cake("compress", fixtures / "moons_mlp.onnx", *words).out)
    assert (report["run"]["method"], report["run"]["rounds"], len(report["curves"])) == ("paper", 1, 30)
    assert "langevin = true" in (tmp_path / "moons_mlp-cake/config.toml").read_text("utf-8")


def test_a_time_limit_is_kept_as_a_number_of_rounds(fixtures: Path, cake: Command, tmp_path: Path) -> None:
    words = ["compress", fixtures / "moons_mlp.onnx", "--max-minutes", "0.001", "-o", "out"]
    assert cake(*words, "-q").code == 0
    text = (tmp_path / "out/config.toml").read_text("utf-8")
    assert "rounds = " in text
    assert "max_minutes" not in text
    again = cake(*words)
    assert again.code == 0
    assert "already holds the result" in again.err
