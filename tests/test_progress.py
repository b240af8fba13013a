from __future__ import annotations

import pytest

from cake_onnx.progress import Clock, Progress, Report, silent


def test_the_default_callback_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    report: Report = silent
    report(Progress("distil", 1, 2))
    assert capfd.readouterr() == ("", "")
    assert Progress("distil", 1, 2).note == ""


def test_a_clock_gives_each_stage_its_own_time() -> None:
    clock = Clock()
    clock.lap("a")
    clock.lap("b")
    assert list(clock.laps) == ["a", "b"]
    assert all(seconds >= 0 for seconds in clock.laps.values())
