"""Times of several things, taken in turns, so that other work on the machine meets all of them alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

Run = Callable[[], object]
_TURN = {"cpu": 0.1, "cuda": 0.01}
"""Seconds of a turn at least; quick things run several times in it."""


@dataclass(frozen=True)
class Spread:
    """Median, least and most of numbers.

    Attributes:
        median: The middle one.
        least: The smallest.
        most: The largest.
    """

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one number."""
        return cls(statistics.median(values), min(values), max(values))


def in_turns(runs: Mapping[str, Run], turns: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of one call of each, one number a turn: A B A B and so on.

    Everything runs before it is timed, and the clock is read when the device has finished.

    Args:
        runs: What to call, by name.
        turns: How often each has its turn.
        device: Where they run.
    """
    calls = {name: _calls(run, device) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            seconds[name].append(_seconds(run, calls[name], device))
    return seconds


def ratios(ours: Sequence[float], others: Sequence[float]) -> Spread:
    """Time over time, of each turn."""
    return Spread.of([a / b for a, b in zip(ours, others, strict=True)])


def _calls(run: Run, device: torch.device) -> int:
    once, tries = math.inf, 0
    while tries < 2 or (once < _TURN[device.type] and tries < 5):
        once = min(once, _seconds(run, 1, device))  # in the first, libraries choose their kernels
        tries += 1
    return max(1, math.ceil(_TURN[device.type] / once))


def _seconds(run: Run, calls: int, device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        run()
    _wait(device)
    return (time.perf_counter() - start) / calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
