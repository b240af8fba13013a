"""How the threads of a command wait for each other; for this command and those of plugins."""

from __future__ import annotations

import os

_PATIENCE = "10000"
"""How often a thread of GNU OpenMP looks for work before it sleeps. Of itself it does so much longer that two
threads beside another load wait for each other's turn on the processor and are several times slower."""


def wait_briefly() -> None:
    """Have waiting threads sleep sooner, unless `GOMP_SPINCOUNT` is set; call it before torch is loaded."""
    os.environ.setdefault("GOMP_SPINCOUNT", _PATIENCE)
