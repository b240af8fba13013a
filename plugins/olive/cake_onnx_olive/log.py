"""Our progress and our log, told through Olive's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from cake_onnx.progress import Progress

#: Names below `olive` have Olive's handler and level.
logger = logging.getLogger("olive.cake_onnx")


class LogProgress:
    """Tells progress in Olive's log: a line each tenth of a stage.

    Args:
        who: What is at work.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._told: dict[str, int] = {}

    def __call__(self, progress: Progress) -> None:
        """Take a report from the library."""
        tenth = 10 * progress.done // max(1, progress.total)
        if tenth > self._told.get(progress.stage, -1):
            self._told[progress.stage] = tenth
            note = f", {progress.note}" if progress.note else ""
            logger.info("%s, %s: %d%%%s", self._who, progress.stage, 10 * tenth, note)


class _Forward(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


@contextmanager
def in_olives_log() -> Iterator[None]:
    """Send what `cake_onnx` logs meanwhile to Olive's log, at Olive's level."""
    ours = logging.getLogger("cake_onnx")
    before, forward = (ours.level, ours.propagate), _Forward()
    ours.addHandler(forward)
    ours.setLevel(logger.getEffectiveLevel())
    ours.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(forward)
        ours.setLevel(before[0])
        ours.propagate = before[1]
