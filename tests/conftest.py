"""What every test shares: where the fixtures are, one thread a process, hypothesis without deadlines."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)
# No deadline: a slow machine is no defect. The same examples on every CI run: a red run can be repeated.
hypothesis.settings.register_profile("cake", deadline=None, max_examples=50, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("cake")


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder of the shipped teachers and test splits."""
    return ROOT / "fixtures"
