"""What the command does with a folder that is in use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import SHORT, Command

Listing = Callable[[Path], dict[str, str]]


@pytest.fixture
def used(compressed: Callable[[str], Path], tmp_path: Path, fixtures: Path) -> tuple[str, ...]:
    """The words of a finished run, whose folder `out` also holds something of the user."""
    (tmp_path / "out").mkdir()
    for file in compressed("moons_mlp").iterdir():
        (tmp_path / "out" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "out/notes.txt").write_text("mine")
    (tmp_path / "out/plots").mkdir()
    data = fixtures / "moons_test.npz"
    return ("compress", str(fixtures / "moons_mlp.onnx"), "--eval", str(data), "-o", "out", *SHORT)


def test_the_same_command_again_shows_the_result(
    used: tuple[str, ...], cake: Command, tmp_path: Path, listing: Listing
) -> None:
    before = listing(tmp_path)
    answer = cake(*used[:-1])
    assert answer.code == 0
    assert "out already holds the result of this very run" in answer.err
    assert "Agreement, your data" in answer.out
    assert cake(*used, "--json").out == (tmp_path / "out/report.json").read_text("utf-8")
    assert listing(tmp_path) == before


def test_a_dry_run_says_so_too(used: tuple[str, ...], cake: Command) -> None:
    assert "already holds the result of this very run" in cake(*used, "--dry-run").out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--seed", "5"), "seed was 0 and is 5"),
        (("--compression", "2"), "compression was 4.0 and is 2.0"),
        (("--min-agreement", "0.5"), "min_agreement was None and is 0.5"),
    ],
)
def test_other_options_are_refused_by_name(
    words: tuple[str, ...], told: str, used: tuple[str, ...], cake: Command, tmp_path: Path, listing: Listing
) -> None:
    before = listing(tmp_path)
    answer = cake(*used, *words)
    assert (answer.code, answer.out) == (2, "")
    assert f"in out; found {told}. Repeat them" in answer.err
    assert listing(tmp_path) == before


def test_another_teacher_is_refused(used: tuple[str, ...], cake: Command, fixtures: Path) -> None:
    answer = cake("compress", fixtures / "digits_cnn.onnx", "-o", "out", *SHORT)
    assert answer.code == 2
    assert "teacher was" in answer.err


def test_overwrite_makes_it_anew_and_touches_only_its_own_files(
    used: tuple[str, ...], cake: Command, tmp_path: Path, listing: Listing
) -> None:
    before = listing(tmp_path)
    assert cake(*used, "--overwrite", "--seed", "5").code == 0
    after = listing(tmp_path)
    assert set(after) == set(before)
    changed = {Path(name).name for name in after if after[name] != before[name]}
    assert {"model.onnx", "config.toml", "report.json"} <= changed
    assert "notes.txt" not in changed


def test_a_failed_overwrite_leaves_the_old_result(
    used: tuple[str, ...], cake: Command, tmp_path: Path, listing: Listing
) -> None:
    before = listing(tmp_path)
    assert cake(*used, "--overwrite", "--student", "cnn").code == 2
    assert listing(tmp_path) == before
