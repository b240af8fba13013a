from __future__ import annotations

import pytest

from cake_onnx.progress import Progress, Report, silent


def test_the_default_callback_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    report: Report = silent
    report(Progress("distil", 1, 2))
    assert capfd.readouterr() == ("", "")
    assert Progress("distil", 1, 2).note == ""
