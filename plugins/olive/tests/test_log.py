from __future__ import annotations

import logging
import os
from collections.abc import Callable

import pytest
from conftest import Workflow
from olive.workflows import run

from cake_onnx.progress import Progress
from cake_onnx_olive import package_config
from cake_onnx_olive.log import LogProgress, in_olives_log

OLIVE = logging.getLogger("olive")


def printed(given: Workflow, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """Lines on stdout from a run, with those of Olive's own handler."""
    [handler] = [handler for handler in OLIVE.handlers if type(handler) is logging.StreamHandler]
    before, level = handler.stream, OLIVE.level
    with os.fdopen(os.dup(1), "w") as stdout:
        handler.stream = stdout
        run(given, package_config=package_config())
        handler.stream = before
    OLIVE.setLevel(level)
    return capfd.readouterr().out.splitlines()


def test_progress_is_a_line_each_tenth(olives_log: list[str]) -> None:
    OLIVE.setLevel(logging.INFO)
    tell = LogProgress("somebody")
    for done in range(101):
        tell(Progress("distil", done, 100, "agreement 1.0%" if done == 100 else ""))
    assert len(olives_log) == 11
    assert olives_log[-1] == "somebody, distil: 100%, agreement 1.0%"


def test_progress_and_the_librarys_log_reach_olives_handler(
    workflow: Callable[..., Workflow], capfd: pytest.CaptureFixture[str]
) -> None:
    lines = [line for line in printed(workflow(), capfd) if line.startswith("[")]
    assert [line for line in lines if "] CakeDistillation, distil: 50%" in line]
    assert [line for line in lines if "] student like-teacher of " in line]


def test_at_olives_level_nothing_of_ours_reaches_stdout(
    workflow: Callable[..., Workflow], capfd: pytest.CaptureFixture[str]
) -> None:
    lines = printed(workflow(log_severity_level=3), capfd)
    # Olive shows its table of runs at every level, and nothing else is there.
    assert lines[0].endswith("run history:")
    assert all(line[0] in "+|" for line in lines[1:])


def test_the_librarys_logger_is_left_as_it_was() -> None:
    log = logging.getLogger("cake_onnx")
    before = (log.level, log.propagate, list(log.handlers))
    with in_olives_log():
        assert not log.propagate
    assert (log.level, log.propagate, list(log.handlers)) == before
