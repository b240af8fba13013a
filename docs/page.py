"""A section of a generated page: its title, its text and its table, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def section(title: str, text: str, table: Sequence[tuple[str, ...]]) -> str:
    """What a page says under one title; that nothing was measured where the table is its head alone."""
    if len(table) == 1:
        return f"## {title}\n\n{text}\nMissing: nothing was measured yet."
    lines = ["| " + " | ".join(row) + " |" for row in table]
    lines.insert(1, "|---" * len(table[0]) + "|")
    return f"## {title}\n\n{text}\n" + "\n".join(lines)
