"""A generated page: its sections as Markdown, and its file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def section(title: str, text: str, table: Sequence[tuple[str, ...]]) -> str:
    """What a page says under one title; that nothing was measured where the table is its head alone."""
    if len(table) == 1:
        return f"## {title}\n\n{text}\nMissing: nothing was measured yet."
    lines = ["| " + " | ".join(row) + " |" for row in table]
    lines.insert(1, "|---" * len(table[0]) + "|")
    return f"## {title}\n\n{text}\n" + "\n".join(lines)


def check_or_write(path: Path, text: str) -> None:
    """Write a page; with `--check` exit instead, 1 if the file is not what would be written."""
    if "--check" in sys.argv[1:]:
        stale = not path.exists() or path.read_text("utf-8") != text
        sys.exit(f"stale: run python docs/{Path(sys.argv[0]).name}" if stale else 0)
    path.write_text(text, "utf-8")
