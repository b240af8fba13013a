"""`torchrun -m cake_onnx compress`: one folder, one voice, one end."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cake_onnx.cli.main import run
from tests.ranks.conftest import Torchrun

COMMAND = ("-m", "cake_onnx", "compress")
ROUNDS = ("--rounds", "20")


@pytest.fixture(scope="module")
def whole(torchrun: Torchrun, fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of an uninterrupted run of two ranks, and what they said."""
    folder = tmp_path_factory.mktemp("whole")
    with torchrun(*COMMAND, fixtures / "moons_mlp.onnx", "-o", "out", *ROUNDS, cwd=folder) as process:
        told, said = process.communicate()
    assert process.returncode == 0, said
    assert told.count("Agreement, held-out samples") == 1
    return folder / "out", said


def test_two_ranks_write_one_result_with_the_passes_of_one(
    whole: tuple[Path, str], fixtures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, said = whole
    report = json.loads((folder / "report.json").read_text())
    assert said.count("Teaching the student  10/20") == 1
    assert report["run"]["ranks"] == 2
    assert report["run"]["device"].startswith("2 ranks")
    assert report["command"].startswith("torchrun --nproc-per-node 2 -m cake_onnx compress")
    assert not (folder / "work").exists()
    # A run of one process would give another student, so it may not pass this one off as its own.
    code = run(["compress", str(fixtures / "moons_mlp.onnx"), "-o", str(folder), *ROUNDS])
    assert code == 2
    assert "ranks was 2 and is 1" in capsys.readouterr().err


def test_an_interrupted_run_of_two_ranks_goes_on_to_the_same_bytes(
    torchrun: Torchrun, whole: tuple[Path, str], fixtures: Path, tmp_path: Path
) -> None:
    said = ""
    with torchrun(*COMMAND, fixtures / "moons_mlp.onnx", "-o", "out", *ROUNDS, cwd=tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said += line
            if "Teaching the student  8/20" in line:
                process.send_signal(signal.SIGINT)
    offered = re.search(r"To go on: torchrun --nproc-per-node 2 (.+)", said)
    assert offered, said
    with torchrun(*shlex.split(offered[1]), cwd=tmp_path) as process:
        _, said = process.communicate()
    assert process.returncode == 0, said
    assert "Teaching the student  0/20" not in said
    for file in ("model.onnx", "config.toml", "MODEL_CARD.md"):
        assert (tmp_path / "out" / file).read_bytes() == (whole[0] / file).read_bytes()


def _failed(process: subprocess.Popen[str]) -> tuple[list[str], set[str]]:
    """What the program said, and how each rank ended, by torchrun's summary."""
    _, said = process.communicate()
    assert process.returncode == 1
    return re.findall(r"cake-onnx: .+", said), set(re.findall(r"exitcode\s*: (-?\d+)", said))


def test_an_error_is_told_once_and_ends_all_ranks(torchrun: Torchrun, fixtures: Path, tmp_path: Path) -> None:
    words = (fixtures / "moons_mlp.onnx", "--method", "paper", "--budget", "small")
    with torchrun(*COMMAND, *words, cwd=tmp_path) as process:
        said, codes = _failed(process)
    assert len(said) == 1
    assert "found 2 ranks. Start it without torchrun" in said[0]
    assert "2" in codes
    assert codes <= {"2", f"-{signal.SIGTERM.value}"}


def test_a_rank_that_dies_ends_the_others(fixtures: Path, tmp_path: Path) -> None:
    # Without torchrun, which would end the other rank itself, at a moment of its own.
    teacher = fixtures / "moons_mlp.onnx"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    first, second = (
        subprocess.Popen(
            [sys.executable, *COMMAND, teacher, "-o", "out", *ROUNDS],
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            text=True,
            env={**os.environ, **place, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in (0, 1)
    )
    with first, second:
        assert first.stderr is not None
        said = ""
        for line in first.stderr:
            said += line
            if "Teaching the student  4/20" in line:
                second.kill()
    assert first.returncode == 4
    assert "expected all 2 ranks to go on; found one that does not answer" in said
    assert not (tmp_path / "out").exists(), "nothing half-written stays"
