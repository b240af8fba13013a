"""Runs of a benchmark, one after the other or side by side, until all are done or the time is up."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ledger import append, rows


class Keyed(Protocol):
    """A run that a line of the CSV can be told by."""

    def key(self) -> tuple[str, ...]:
        """The values of the first columns."""


Run = TypeVar("Run", bound=Keyed)


def run_all(
    runs: Sequence[Run],
    measure: Callable[[Run], dict[str, Any]],
    results: Path,
    columns: Sequence[str],
    key: Sequence[str],
    workers: int,
    minutes: float,
) -> None:
    """Measure what is not in the CSV yet.

    Args:
        runs: All runs.
        measure: A function of a module, which gives the line of a run.
        results: The CSV.
        columns: Its columns.
        key: Those that a run is known by.
        workers: Processes. One works here, and what it has begun it ends.
        minutes: No run begins later, and with several workers none goes on.
    """
    done = {tuple(row[column] for column in key) for row in rows(results)}
    waiting = [run for run in runs if run.key() not in done]
    print(f"{len(waiting)} runs to do", file=sys.stderr, flush=True)
    end = time.monotonic() + 60 * minutes
    if workers > 1:
        _side_by_side(waiting, measure, results, columns, workers, end)
        return
    for index, run in enumerate(waiting):
        if time.monotonic() > end:
            print(f"time is up: {len(waiting) - index} runs were not begun", file=sys.stderr, flush=True)
            return
        append(results, columns, measure(run))


def _side_by_side(
    runs: Sequence[Run],
    measure: Callable[[Run], dict[str, Any]],
    results: Path,
    columns: Sequence[str],
    workers: int,
    end: float,
) -> None:
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    waiting: set[Future[dict[str, Any]]] = {pool.submit(measure, run) for run in runs}
    while waiting and time.monotonic() < end:
        finished, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
        for future in finished:
            if future.exception() is None:
                append(results, columns, future.result())
            else:  # one run that broke shall not take the others with it
                print(f"failed: {future.exception()!r}", file=sys.stderr, flush=True)
    if waiting:
        print(f"time is up: {len(waiting)} runs were not finished", file=sys.stderr, flush=True)
        for worker in multiprocessing.active_children():
            worker.kill()
        os._exit(0)  # what waits for the workers at exit would wait for ever
