"""What every test shares: no telemetry, no network, one thread, small workflows, Olive's log."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["CI"] = "1"  # before Olive is imported: the one switch that its telemetry obeys from the start

import onnx
import pytest
import torch

ROOT = Path(__file__).resolve().parents[3]
Workflow = dict[str, Any]

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody looks up a name or connects elsewhere: telemetry swallows its errors, so tries are kept."""
    tried: list[object] = []
    connect = socket.socket.connect

    def refuse(*target: object, **_: object) -> Any:
        tried.append(target)
        raise OSError("tests use no network")

    def only_local(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            refuse(address)
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", only_local)
    yield
    assert not tried


@pytest.fixture
def fixtures() -> Path:
    """Folder of the shipped teachers and test splits."""
    return ROOT / "fixtures"


@pytest.fixture
def moons(tmp_path: Path, fixtures: Path) -> Path:
    """A teacher of 642 parameters with metadata of its owner."""
    model = onnx.load(fixtures / "moons_mlp.onnx")
    onnx.helper.set_model_props(model, {"owner": "somebody"})
    path = tmp_path / "moons.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def workflow(moons: Path, tmp_path: Path) -> Callable[..., Workflow]:
    """A workflow that distils the moons in two rounds, with whatever else is said of it."""

    def build(passes: Workflow | None = None, /, **more: Any) -> Workflow:
        return {
            "input_model": {"type": "OnnxModel", "model_path": str(moons)},
            "passes": {"distil": distil()} if passes is None else passes,
            "output_dir": str(tmp_path / "out"),
            "cache_dir": str(tmp_path / "cache"),
            **more,
        }

    return build


def distil(**parameters: Any) -> Workflow:
    """The pass, with as little work as can be."""
    return {"type": "CakeDistillation", "rounds": 2, "training_device": "cpu", **parameters}


def judged(teacher: Path, goal: float | None = None, **options: Any) -> Workflow:
    """Evaluator settings of a workflow: agreement with a teacher, then the size."""
    agreement: Workflow = {"name": "accuracy_score", "priority": 1}
    if goal is not None:
        agreement["goal"] = {"type": "threshold", "value": goal}
    metrics = [
        {"name": "agreement", "type": "accuracy", "sub_types": [agreement]},
        {"name": "size", "type": "size_on_disk", "sub_types": [{"name": "bytes", "priority": 2}]},
    ]
    evaluator = {"type": "CakeAgreement", "teacher": str(teacher), **options, "metrics": metrics}
    return {"evaluators": {"alike": evaluator}, "evaluator": "alike"}


@pytest.fixture
def olives_log() -> Iterator[list[str]]:
    """What Olive's logger is told, as its handlers get it."""
    lines: list[str] = []

    class _Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    log, keep = logging.getLogger("olive"), _Keep()
    level = log.level
    log.addHandler(keep)
    try:
        yield lines
    finally:
        log.removeHandler(keep)
        log.setLevel(level)
