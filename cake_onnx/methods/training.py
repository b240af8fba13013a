"""What both methods have in common: what they need, what they give, and how they can be interrupted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from cake_onnx.devices import Device
from cake_onnx.graph.trainable import count_weights
from cake_onnx.priors import Prior, ValueRange
from cake_onnx.ranks import Ranks
from cake_onnx.students.like_teacher import LikeTeacher


@dataclass(frozen=True)
class Lesson:
    """Everything a method works on.

    Attributes:
        teacher: `(B, *shape)` to logits `(B, K)`, on the device, no gradient for its weights.
        student: The same for the student; trained in place.
        prior: Where samples start and may go.
        bounds: Range of the input, on the device.
        shape: One input without batch.
        classes: K.
        device: Where and in which precision.
        seed: All randomness follows from it.
        shrink_to: For a student that loses channels: parameters at the end.
        ranks: The processes that share the work; each has a lesson of its own.
    """

    teacher: nn.Module
    student: nn.Module
    prior: Prior
    bounds: ValueRange
    shape: tuple[int, ...]
    classes: int
    device: Device
    seed: int
    shrink_to: int | None = None
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def size(self) -> int:
        """What the student shall have in the end: parameters, or operations where it shrinks by those."""
        if self.shrink_to is not None:
            return self.shrink_to
        return count_weights(self.student)

    @property
    def block(self) -> int | None:
        """Channels that the convolutions of a student grown down shall come in."""
        return self.student.block if isinstance(self.student, LikeTeacher) else None

    @property
    def place(self) -> str:
        """Where the work is done, for people."""
        several = f"{self.ranks.count} ranks of " if self.ranks.count > 1 else ""
        return f"{several}{self.device}"


@dataclass(frozen=True)
class Point:
    """The state after a round: rounds done, teacher passes so far, mean loss and agreement of that round."""

    round: int
    passes: float
    loss: float
    agreement: float


@dataclass(frozen=True)
class Training:
    """What a method did.

    Attributes:
        rounds: Rounds (or sets) done.
        passes: Teacher passes: forward and input gradient of a sample is one, a forward alone half.
        curve: One point a round (for `paper`: one an epoch).
    """

    rounds: int
    passes: float
    curve: tuple[Point, ...]


class Checkpoints(Protocol):
    """Where a method leaves its state between rounds, so that a broken run can go on."""

    def due(self) -> bool:
        """Whether it is time to save again."""

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Keep the state; replaces the one before."""

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last state, or None at the start of a run."""


class NoCheckpoints:
    """Keeps nothing: the default of the library."""

    def due(self) -> bool:
        """Never."""
        return False

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Does nothing."""

    def load(self) -> None:
        """There is nothing to load."""
        return
