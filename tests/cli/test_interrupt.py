"""An interrupt leaves a state and a line; the line ends in the bytes of an uninterrupted run."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path

from cake_onnx.config import Config
from cake_onnx.workspace import Workspace, inputs_of
from tests.cli.conftest import Command, Shell

ROUNDS = ("--rounds", "40")


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    shell: Shell, cake: Command, fixtures: Path, tmp_path: Path
) -> None:
    teacher = fixtures / "moons_mlp.onnx"
    said = ""
    with shell("compress", teacher, "-o", "cut", *ROUNDS, "--overwrite", cwd=tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said += line
            if "Teaching the student  8/40" in line:
                process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["work"]
    assert {path.name for path in (tmp_path / "cut/work").iterdir()} == {"inputs.json", "state.safetensors"}

    offered = re.search(r"To go on: cake-onnx (.+)", said)
    assert offered, said
    resumed = cake(*shlex.split(offered[1]))
    assert resumed.code == 0
    assert "Teaching the student  0/40" not in resumed.err
    assert cake("compress", teacher, "-o", "whole", *ROUNDS, "-q").code == 0
    for file in ("model.onnx", "config.toml", "MODEL_CARD.md"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert not (tmp_path / "cut/work").exists()


def test_an_unfinished_run_with_other_options_is_refused(
    cake: Command, fixtures: Path, tmp_path: Path
) -> None:
    (tmp_path / "out/work").mkdir(parents=True)
    (tmp_path / "out/work/inputs.json").write_text('{"seed": 3}')
    (tmp_path / "out/work/state.safetensors").write_bytes(b"")
    answer = cake("compress", fixtures / "moons_mlp.onnx", "-o", "out", *ROUNDS)
    assert answer.code == 2
    assert "the unfinished run in out; found seed was 3 and is 0" in answer.err
    assert (tmp_path / "out/work/state.safetensors").exists()


def test_a_damaged_state_is_told(cake: Command, fixtures: Path, tmp_path: Path) -> None:
    teacher = fixtures / "moons_mlp.onnx"
    Workspace(tmp_path / "out", teacher).claim(inputs_of(teacher, Config(rounds=40)), overwrite=False)
    (tmp_path / "out/work/state.safetensors").write_bytes(b"\x05\x00\x00")
    answer = cake("compress", teacher, "-o", "out", *ROUNDS)
    assert answer.code == 2
    assert "a readable state in out/work/state.safetensors" in answer.err
    assert "tart anew with `--overwrite`" in answer.err


def test_an_interrupted_synthesize_leaves_nothing(shell: Shell, fixtures: Path, tmp_path: Path) -> None:
    words = ("synthesize", fixtures / "moons_mlp.onnx", "-n", "100000", "-o", "samples.npz")
    with shell(*words, cwd=tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if re.search(r"[1-9][0-9,]*/100,?000", line):
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())
