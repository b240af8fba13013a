"""One line of the CSV a measurement, with all that it depends on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ledger import append, rows
from machine import device_name, machine
from speed.clock import Spread

KEY = ("part", "subject", "way", "against", "batch", "threads", "device", "processor")
COLUMNS = (
    *KEY[:6], "n", "value", "least", "most", "unit", "ratio", "ratio_least", "ratio_most", "difference",
    "changed", "precision", "note", "load", "device", "processor", "cores", "torch", "cake_onnx",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """What was measured.

    Attributes:
        part: Which of the questions.
        subject: Network, teacher or row.
        way: What was done with it.
        against: What the ratio is to.
        batch: Samples at once, or whatever the cost grows with.
        n: Turns, seeds or processes behind the numbers.
        value: In `unit`.
        unit: `samples/s`, `ms`, `MiB` …
        ratio: Time over the time of `against`.
        difference: Largest difference of logits from those of `against`, in units of their spread.
        changed: Share of decisions that differ from those of `against`.
        precision: That matrix products are done in.
        note: In words, for example why there is no number.
    """

    part: str
    subject: str
    way: str
    against: str = ""
    batch: int | str = ""
    n: int | str = ""
    value: Spread | None = None
    unit: str = ""
    ratio: Spread | None = None
    difference: float | str = ""
    changed: float | str = ""
    precision: str = ""
    note: str = ""


class Results:
    """The lines of a file, of which those of this machine need not be measured again.

    Args:
        path: The CSV file; made with the first line.
        device: Where torch works.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path = path
        self.device = device
        self._here = {"device": device_name(device), **machine()}
        self._done = {tuple(row[name] for name in KEY) for row in rows(path)}

    def has(self, part: str, subject: str, way: str, against: str = "", batch: int | str = "") -> bool:
        """Whether this line is there already, with as many threads as now."""
        return self._key(Line(part, subject, way, against, batch)) in self._done

    def add(self, line: Line) -> None:
        """Append it, unless it is there."""
        key = self._key(line)
        if key in self._done:
            return
        self._done.add(key)
        append(self.path, COLUMNS, self._row(line))

    def _key(self, line: Line) -> tuple[str, ...]:
        row = self._row(line)
        return tuple(str(row[name]) for name in KEY)

    def _row(self, line: Line) -> dict[str, Any]:
        row: dict[str, Any] = {
            name: getattr(line, name)
            for name in ("part", "subject", "way", "against", "batch", "n", "unit", "precision", "note")
        }
        row |= {name: _rounded(getattr(line, name)) for name in ("difference", "changed")}
        for prefix, spread in (("", line.value), ("ratio_", line.ratio)):
            numbers = ("", "", "") if spread is None else (spread.median, spread.least, spread.most)
            names = (prefix.rstrip("_") or "value", f"{prefix}least", f"{prefix}most")
            row |= dict(zip(names, map(_rounded, numbers), strict=True))
        threads = torch.get_num_threads() if self.device.type == "cpu" else ""
        return row | {"threads": threads, "load": round(os.getloadavg()[0], 1)} | self._here


def _rounded(number: float | str) -> str:
    return number if isinstance(number, str) else f"{number:.4g}"
