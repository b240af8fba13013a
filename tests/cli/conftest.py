"""Compressed fixtures, made once a test run, and a way to call the command as a shell would."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from cake_onnx.cli.main import run

#: Options of the shared runs: as little work as shows everything.
SHORT = ("--rounds", "2", "--compression", "4", "-q")


@dataclass(frozen=True)
class Answer:
    """What a call of the command gave."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def cake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Call the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str | Path) -> Answer:
        capsys.readouterr()
        code = run([str(word) for word in words])
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return call


@pytest.fixture(scope="session")
def manifest(fixtures: Path) -> dict[str, Any]:
    """What is known of the shipped teachers, by file name."""
    found: dict[str, Any] = json.loads((fixtures / "MANIFEST.json").read_text("utf-8"))["models"]
    return found


@pytest.fixture(scope="session")
def compressed(
    fixtures: Path, manifest: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Callable[[str], Path]:
    """Output folder of a short run on a shipped teacher; shared by all processes of a parallel run."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "compressed"
    shared.mkdir(exist_ok=True)

    def folder_of(name: str) -> Path:
        folder = shared / name
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                data = fixtures / manifest[f"{name}.onnx"]["test"]
                words = ["compress", fixtures / f"{name}.onnx", "--eval", data, "-o", folder, *SHORT]
                assert run([str(word) for word in words]) == 0
        return folder

    return folder_of


class Shell(Protocol):
    """Starts the command in a process of its own, in `cwd`, with stdout and stderr as text or elsewhere."""

    def __call__(self, *words: str | Path, cwd: Path, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start it."""


@pytest.fixture(scope="session")
def shell() -> Shell:
    """See `Shell`; one thread, so that it computes what this process does."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "120"}

    def start(*words: str | Path, cwd: Path, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "cake_onnx", *map(str, words)]
        return subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=stderr, cwd=cwd, text=True, env=environment
        )

    return start


def listing(folder: Path) -> dict[str, str]:
    """Every file below a folder with the hash of its content; a folder with nothing."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(name="listing")
def listing_fixture() -> Callable[[Path], dict[str, str]]:
    """The function `listing`."""
    return listing
