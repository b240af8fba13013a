"""What a person sees: bars while it runs, tables when it is done. All but the result goes to stderr.

Rich is imported when something is drawn: help does not wait for it.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from cake_onnx.progress import Progress, duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_STAGES = {
    "read": "Reading the teacher",
    "diffuse": "Diffusing samples",
    "distil": "Teaching the student",
    "export": "Exporting",
    "judge": "Judging in onnxruntime",
}
_PATIENCE = 60
"""Seconds after which a log without news looks dead, and from which on it tells how many are left."""


class Display:
    """Shows progress on stderr: bars on a terminal, elsewhere lines, nothing when quiet.

    A line comes at each tenth of a stage, and at the first report after a minute without one.

    The first interrupt is answered at the next report, where the state of the run is whole, the second at
    once.
    """

    def __init__(self, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console

        console = Console(stderr=True)
        self._quiet, self._clock = quiet, clock
        self._bars = _make_bars(console) if console.is_terminal and not quiet else None
        self._tasks: dict[str, TaskID] = {}
        self._tenths: dict[str, int] = {}
        self._begun: dict[str, tuple[float, int]] = {}
        self._last_line = 0.0
        self._interrupted = False

    def __enter__(self) -> Self:
        self._previous = [
            (number, signal.signal(number, self._interrupt)) for number in (signal.SIGINT, signal.SIGTERM)
        ]
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()
        for number, handler in self._previous:
            signal.signal(number, handler)

    def __call__(self, progress: Progress) -> None:
        """Take a report from the library."""
        if self._interrupted:
            raise KeyboardInterrupt
        if self._bars:
            self._draw(self._bars, progress)
        elif not self._quiet:
            self._line(progress)

    def _draw(self, bars: Bars, progress: Progress) -> None:
        if progress.stage not in self._tasks:
            self._tasks[progress.stage] = bars.add_task(_STAGES.get(progress.stage, progress.stage), note="")
        bars.update(
            self._tasks[progress.stage], total=progress.total, completed=progress.done, note=progress.note
        )

    def _line(self, progress: Progress) -> None:
        now, tenth = self._clock(), 10 * progress.done // max(1, progress.total)
        self._begun.setdefault(progress.stage, (now, progress.done))
        if self._tenths.get(progress.stage, -1) < tenth or now - self._last_line >= _PATIENCE:
            self._tenths[progress.stage], self._last_line = tenth, now
            count = f"{progress.done}/{progress.total}" if progress.total > 1 else ""
            words = (
                _STAGES.get(progress.stage, progress.stage),
                count,
                progress.note,
                self._left(progress, now),
            )
            sys.stderr.write("  ".join(word for word in words if word) + "\n")
            sys.stderr.flush()

    def _left(self, progress: Progress, now: float) -> str:
        """How long the stage may still take, at the pace so far; a run that goes on counts from there."""
        start, first = self._begun[progress.stage]
        if progress.done == first:
            return ""
        left = (now - start) * (progress.total - progress.done) / (progress.done - first)
        return f"about {duration(left)} left" if left >= _PATIENCE else ""

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True


def _make_bars(console: Console) -> Bars:
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}", markup=False),
        console=console,
        speed_estimate_period=3600,  # a round may take minutes, and two must be seen to tell the pace
    )


def print_table(rows: Iterable[tuple[str, str, str, str]], titles: tuple[str, str, str, str]) -> None:
    """A table on stdout."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(titles[0])
    for title in titles[1:3]:
        table.add_column(title, justify="right")
    table.add_column(titles[3])
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    _stdout().print(table)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Names and values on stdout, one pair a line."""
    pairs = list(facts)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        _stdout().print(f"{name:<{width}}  {value}", markup=False, highlight=False, soft_wrap=True)


def print_line(text: str) -> None:
    """A line on stdout, as it is."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line on stderr, as it is."""
    sys.stderr.write(text + "\n")


def _stdout() -> Console:
    from rich.console import Console

    console = Console()
    # Without a terminal there is no width to keep to, and a log must not be cut at 80 columns.
    return console if console.is_terminal else Console(width=160)
