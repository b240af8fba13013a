"""Results that outlive a run: one CSV line each, appended as soon as it is known, read on the next start."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def rows(path: Path) -> list[dict[str, str]]:
    """All lines so far; none where the file is not there yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(path: Path, columns: Sequence[str], row: Mapping[str, Any]) -> None:
    """Add a line, under a header where it is the first, and print it."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    print({column: row[column] for column in columns if column in row}, flush=True)
