"""onnxruntime tells nobody which models a command loads, unless its user wants it to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TELEMETRY = "ORT_DISABLE_TELEMETRY"


def _home_after(*words: str | Path, home: Path, **variables: str) -> None:
    """Run Python where nothing says that this is a CI machine, on which onnxruntime is silent anyway."""
    kept = {name: value for name, value in os.environ.items() if name not in {TELEMETRY, "CI"}}
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run(
        [sys.executable, *map(str, words)],
        env={**kept, **places, **variables},
        check=True,
        capture_output=True,
    )


def test_a_command_leaves_nothing_to_be_sent(
    tmp_path: Path, fixtures: Path, root: Path, listing: Callable[[Path], dict[str, str]]
) -> None:
    words: list[str | Path] = ["-m", "cake_onnx", "inspect", fixtures / "moons_mlp.onnx"]
    _home_after(*words, home=tmp_path, PYTHONPATH=str(root))
    assert not [name for name in listing(tmp_path) if "onnxruntime" in name]


def test_what_its_user_says_of_it_stays(
    tmp_path: Path, fixtures: Path, root: Path, listing: Callable[[Path], dict[str, str]]
) -> None:
    _home_after("-c", "import onnxruntime", home=tmp_path)
    if not any("onnxruntime" in name for name in listing(tmp_path)):
        pytest.skip("this onnxruntime keeps nothing to send")
    home = tmp_path / "other"
    home.mkdir()
    words: list[str | Path] = ["-m", "cake_onnx", "inspect", fixtures / "moons_mlp.onnx"]
    _home_after(*words, home=home, PYTHONPATH=str(root), **{TELEMETRY: "0"})
    assert [name for name in listing(home) if "onnxruntime" in name]
