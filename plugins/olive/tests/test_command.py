from __future__ import annotations

import os

import pytest

from cake_onnx_olive.cli import main


@pytest.mark.parametrize(("told", "patience"), [(None, "10000"), ("5", "5")])
def test_threads_wait_for_each_other_briefly_unless_told(
    monkeypatch: pytest.MonkeyPatch, told: str | None, patience: str
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", told or "")
    if told is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    main(["--version"])
    assert os.environ["GOMP_SPINCOUNT"] == patience
