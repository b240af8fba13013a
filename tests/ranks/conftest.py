"""Starts real ranks: `torchrun` with two processes of one thread each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest


class Torchrun(Protocol):
    """Starts two ranks of a module or script in `cwd`, with stdout and stderr as text."""

    def __call__(self, *words: str | Path, cwd: Path) -> subprocess.Popen[str]:
        """Start them."""


@pytest.fixture(scope="session")
def torchrun(root: Path) -> Torchrun:
    """See `Torchrun`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}

    def start(*words: str | Path, cwd: Path) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        return subprocess.Popen(
            [*line, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            text=True,
            env=environment,
        )

    return start
