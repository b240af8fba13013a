"""A lesson small enough to be learnt in a second, and checkpoints kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cake_onnx.devices import Device
from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.methods.training import Lesson
from cake_onnx.priors import UniformPrior, ValueRange

State = tuple[dict[str, Tensor], dict[str, Any]]


@dataclass
class Memory:
    """Checkpoints in a dict; copies, as a file would.

    Args:
        every: Due after so many questions, or never.
    """

    every: int | None = None
    asked: int = 0
    saves: int = 0
    state: State | None = None

    def due(self) -> bool:
        self.asked += 1
        return self.every is not None and self.asked % self.every == 0

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.saves += 1
        self.state = ({name: value.clone() for name, value in tensors.items()}, dict(facts))

    def load(self) -> State | None:
        if self.state is None:
            return None
        return {name: value.clone() for name, value in self.state[0].items()}, dict(self.state[1])


def network(seed: int, hidden: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, hidden), nn.Tanh(), nn.Linear(hidden, 4))


@pytest.fixture
def new_lesson() -> Callable[..., Lesson]:
    def new(seed: int = 0) -> Lesson:
        spec = InputSpec("x", (3,), "float32", "flat", Bounds((-2.0,), (2.0,), "test", False))
        teacher = network(0, 12).requires_grad_(False)
        for weight in teacher.parameters():
            weight.mul_(3)
        return Lesson(
            teacher=teacher,
            student=network(5, 8),
            prior=UniformPrior(spec),
            bounds=ValueRange.of(spec),
            shape=(3,),
            classes=4,
            device=Device(torch.device("cpu"), None),
            seed=seed,
        )

    return new


@pytest.fixture
def new_memory() -> type[Memory]:
    return Memory
