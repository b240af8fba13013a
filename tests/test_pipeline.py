from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import cake_onnx
from cake_onnx.config import Config
from cake_onnx.errors import UnsupportedTeacherError, UsageError
from cake_onnx.pipeline import Result, compress
from cake_onnx.progress import Progress

SHORT = Config(rounds=2)
_opened: list[tuple[str, bool]] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hooks cannot be taken off again, so this one listens only while `_opened` is a list."""
    if _opened is not None and event == "open" and isinstance(arguments[0], str):
        _opened.append((arguments[0], bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))))


sys.addaudithook(_watch)


@contextmanager
def watched() -> Iterator[list[tuple[str, bool]]]:
    """Every file that Python opens meanwhile, and whether for writing."""
    global _opened
    found: list[tuple[str, bool]] = []
    _opened = found
    try:
        yield found
    finally:
        _opened = None


@pytest.fixture(scope="module")
def result(fixtures: Path) -> Result:
    return compress(fixtures / "moons_mlp.onnx", SHORT)


def test_the_library_reads_one_file_and_writes_none(
    result: Result, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tmp_path / "teacher.onnx"
    teacher.write_bytes((fixtures / "moons_mlp.onnx").read_bytes())
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with watched() as opened:
        again = cake_onnx.compress(str(teacher), cake_onnx.Config(rounds=2))
    assert again.model == result.model
    assert {path for path, _ in opened if str(tmp_path) in path} == {str(teacher)}
    assert not [path for path, writes in opened if writes and path != os.devnull]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "teacher.onnx"]


def test_the_result_is_a_valid_model_with_its_report(result: Result) -> None:
    onnx.checker.check_model(onnx.load_from_string(result.model), full_check=True)
    assert result.passed
    assert result.report.student.bytes == len(result.model)
    assert result.report.student.parameters * 4 <= result.report.teacher.parameters
    assert [point.round for point in result.report.curves] == [1, 2]
    assert result.report.accuracy is None
    assert "accuracy was not measured" in result.report.verdict
    assert result.pictures.samples.shape[1:] == (2,)


def test_the_provenance_holds_no_time_and_no_path(result: Result, fixtures: Path) -> None:
    told = {entry.key: entry.value for entry in onnx.load_from_string(result.model).metadata_props}
    assert result.report.teacher.sha256 in told.values()
    assert str(fixtures).encode() not in result.model


def test_the_config_of_the_result_repeats_it(fixtures: Path) -> None:
    limited = compress(fixtures / "moons_mlp.onnx", Config(max_minutes=1e-4, budget="small"))
    assert limited.config.max_minutes is None
    assert limited.config.rounds is not None
    assert 1 <= limited.config.rounds < 60
    assert compress(fixtures / "moons_mlp.onnx", limited.config).model == limited.model


def test_every_stage_is_told_in_order_and_to_its_end(fixtures: Path) -> None:
    told: list[Progress] = []
    compress(fixtures / "moons_mlp.onnx", SHORT, told.append)
    stages = list(dict.fromkeys(progress.stage for progress in told))
    assert stages == ["read", "distil", "export", "judge"]
    for stage in stages:
        of_stage = [progress for progress in told if progress.stage == stage]
        done = [progress.done for progress in of_stage]
        assert done == sorted(done)
        assert done[-1] == of_stage[-1].total


def test_a_gate_that_fails_is_in_the_result(fixtures: Path) -> None:
    config = SHORT.model_copy(update={"min_agreement": 1.0, "eval": fixtures / "moons_test.npz"})
    result = compress(fixtures / "moons_mlp.onnx", config)
    assert not result.passed
    assert result.report.gates[0].name == "agreement on your data"


def test_samples_keep_to_the_range_the_user_stated(fixtures: Path) -> None:
    result = compress(fixtures / "moons_mlp.onnx", Config(rounds=1, input_range=(-0.5, 0.25)))
    assert result.pictures.samples.min() >= -0.5
    assert result.pictures.samples.max() <= 0.25
    assert np.ptp(result.pictures.samples) > 0.5
    assert not result.report.input.bounds_assumed


@pytest.mark.parametrize(
    ("config", "error"),
    [(Config(student="vit"), UsageError), (Config(compression=5000), UsageError)],
)
def test_what_cannot_be_done_is_said_before_any_round(
    config: Config, error: type[Exception], fixtures: Path
) -> None:
    told: list[Progress] = []
    with pytest.raises(error):
        compress(fixtures / "moons_mlp.onnx", config, told.append)
    assert {progress.stage for progress in told} == {"read"}


def test_what_is_no_model_is_said(fixtures: Path) -> None:
    with pytest.raises(UnsupportedTeacherError, match="text file"):
        compress(fixtures / "README.md")


def test_errors_of_the_package_are_found_at_its_top() -> None:
    assert cake_onnx.UsageError is UsageError
    assert set(cake_onnx.__all__) == {name for name in cake_onnx.__all__ if hasattr(cake_onnx, name)}
    with pytest.raises(AttributeError, match="no attribute 'squeeze'"):
        cake_onnx.squeeze  # noqa: B018 (the attribute access is the test)


@pytest.mark.parametrize(("prior", "pushed"), [("image", False), ("tabular", True)])
def test_the_report_tells_where_no_sample_is_pushed_to_the_boundary(
    fixtures: Path, prior: str, pushed: bool
) -> None:
    config = Config(rounds=1, prior=prior, device="cpu")
    result = compress(fixtures / "digits_mlp_sklearn.onnx", config, latency_provider=None)
    told = result.report.assumptions[-1]
    assert told.startswith(f"Samples start from the {prior} prior, because it was named by --prior.")
    assert result.pictures.samples.shape[1:] == ((1, 8, 8) if prior == "image" else (64,))
    assert ("None was pushed to the decision boundary" in told) is not pushed
