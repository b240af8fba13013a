"""Lines of progress where there is no terminal: often enough, and with the time that is left."""

from __future__ import annotations

import pytest

from cake_onnx.cli.show import Display
from cake_onnx.progress import Progress


def said(reports: list[tuple[float, int]], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines that a display writes at reports `(seconds since the start, rounds done)` out of 500."""
    now = [0.0]
    display = Display(quiet=False, clock=lambda: 1000 + now[0])
    for now[0], done in reports:
        display(Progress("distil", done, 500))
    return [line.removeprefix("Teaching the student  ") for line in capsys.readouterr().err.splitlines()]


def test_slow_rounds_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert said([(0, 0), (90, 1), (180, 2)], capsys) == [
        "0/500",
        "1/500  about 12 h 28 min left",
        "2/500  about 12 h 27 min left",
    ]


def test_quick_rounds_have_one_per_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said([(done / 20, done) for done in range(501)], capsys)
    assert lines == [f"{done}/500" for done in range(0, 501, 50)]


def test_rounds_in_between_have_one_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said([(7.0 * done, done) for done in range(30)], capsys)
    assert [line.split("/")[0] for line in lines] == ["0", "9", "18", "27"]


def test_the_pace_of_a_run_that_goes_on_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert said([(0, 400), (60, 440)], capsys) == ["400/500", "440/500  about 1 min 30 s left"]
