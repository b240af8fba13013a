"""On a terminal: bars on stderr, the table on stdout."""

from __future__ import annotations

import os
import pty
from pathlib import Path

from tests.cli.conftest import Shell


def read_all(terminal: int) -> str:
    """Everything written to a pseudo terminal until its last writer closed it."""
    parts = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's way of saying that nobody holds the other end any more
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode("utf-8")


def test_a_bar_is_drawn_and_the_table_comes_last(shell: Shell, fixtures: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = ("compress", fixtures / "moons_mlp.onnx", "--rounds", "3")
    with shell(*words, cwd=tmp_path, stderr=theirs) as process:
        os.close(theirs)
        drawn = read_all(ours)
        os.close(ours)
        assert process.stdout is not None
        printed = process.stdout.read()
    assert process.returncode == 0
    assert "\x1b[" in drawn
    assert "Teaching the student" in drawn
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in drawn
    assert "3/3" in drawn
    assert "\x1b" not in printed
    assert printed.split()[:2] == ["teacher", "student"]
    assert "File size" in printed
    assert "File size" not in drawn
