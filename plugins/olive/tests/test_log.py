from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Workflow
from olive.workflows import run

from cake_onnx.progress import Progress
from cake_onnx_olive import package_config
from cake_onnx_olive.log import LogProgress, in_olives_log


def test_progress_is_a_line_each_tenth(olives_log: list[str]) -> None:
    logging.getLogger("olive").setLevel(logging.INFO)
    tell = LogProgress("somebody")
    for done in range(101):
        tell(Progress("distil", done, 100, "agreement 1.0%" if done == 100 else ""))
    assert len(olives_log) == 11
    assert olives_log[-1] == "somebody, distil: 100%, agreement 1.0%"


def test_progress_and_the_librarys_log_reach_olives_handler(
    workflow: Callable[..., Workflow], olives_log: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    [handler] = (h for h in logging.getLogger("olive").handlers if isinstance(h, logging.StreamHandler))
    handler.setStream(sys.stdout)
    run(workflow(), package_config=package_config())
    assert [line for line in olives_log if line.startswith("CakeDistillation, distil: 50%")]
    assert [line for line in olives_log if line.startswith("student like-teacher of ")]
    out = capfd.readouterr().out
    assert "[INFO] [log.py:" in out


def test_at_olives_level_nothing_of_ours_reaches_stdout(
    workflow: Callable[..., Workflow], olives_log: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    run(workflow(log_severity_level=3), package_config=package_config())
    assert not [line for line in olives_log if "distil" in line]
    said = capfd.readouterr().out
    # Olive shows its table of runs at every level, and nothing else is there.
    assert "Cake" not in said
    assert "student" not in said


def test_the_librarys_logger_is_left_as_it_was() -> None:
    log = logging.getLogger("cake_onnx")
    before = (log.level, log.propagate, list(log.handlers))
    with in_olives_log():
        assert not log.propagate
    assert (log.level, log.propagate, list(log.handlers)) == before


def test_telemetry_is_off() -> None:
    from olive.telemetry import Telemetry

    assert Telemetry._is_ci_environment()
