"""How the student learns: our defaults and the published numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Distillation:
    """How the student learns in a round.

    Attributes:
        steps: Student steps a round.
        batch: Samples a step, B.
        prior_share: Share of a batch that comes from the prior's pool; the rest comes from the bank.
        learning_rate: AdamW's, falling to 0 by a cosine over the run.
        relative: Whether that rate is in units of the root mean square of each weight, measured every round;
            of 0.1 for biases and scales.
        weight_decay: AdamW's.
        temperature: T of the soft labels, at least.
        sharpest: Most standard deviations of the teacher's logits over T that a student from scratch is
            taught, see `softened`.
        features: Weight of what the layers read, for a student that is its teacher with fewer channels; it
            falls to 0 over the run.
    """

    steps: int = 30
    batch: int = 256
    prior_share: float = 0.6
    learning_rate: float = 4e-3
    relative: bool = False
    weight_decay: float = 1e-4
    temperature: float = 1.0
    sharpest: float = 2.5
    features: float = 1.0

    def split(self, parts: int) -> Distillation:
        """The same samples of a round in `parts` times the steps."""
        return replace(self, steps=self.steps * parts, batch=self.batch // parts)

    def softened(self, spread: float) -> Distillation:
        """The same, with a T at which logits of standard deviation `spread` are no sharper than `sharpest`.

        Some teachers are far surer of what is drawn by procedure than of what they were trained on. Their
        labels at T = 1 tell the class and hardly more, which is too little for a student that knows nothing.
        """
        return replace(self, temperature=max(self.temperature, spread / self.sharpest))


@dataclass(frozen=True)
class PublishedDistillation:
    """The student's training in the authors' released MNIST configuration: SGD under a one-cycle schedule.

    Attributes:
        epochs: Times every sample is seen.
        batch: Samples a step, B.
        learning_rate: The highest, reached after `rising` of all steps.
        momentum: The middle of the range that momentum runs through, opposite to the rate.
        momentum_swing: Half that range; 0.05 is what torch's `OneCycleLR` does unless told otherwise.
        weight_decay: SGD's.
        start_factor: Highest rate over first rate.
        end_factor: First rate over last rate.
        rising: Share of the steps in which the rate rises.
    """

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    momentum_swing: float = 0.05
    weight_decay: float = 5e-4
    start_factor: float = 25.0
    end_factor: float = 1e4
    rising: float = 0.3

    def rate_at(self, progress: float) -> float:
        """Learning rate at `progress` in [0, 1]: cosine up over the first 30%, then down (Smith 2018)."""
        first = self.learning_rate / self.start_factor
        return self._cycle(first, self.learning_rate, first / self.end_factor, progress)

    def momentum_at(self, progress: float) -> float:
        """Momentum at `progress` in [0, 1]: down while the rate rises, up while it falls (Smith 2018)."""
        high, low = self.momentum + self.momentum_swing, self.momentum - self.momentum_swing
        return self._cycle(high, low, high, progress)

    def _cycle(self, first: float, turn: float, last: float, progress: float) -> float:
        if progress < self.rising:
            return cosine(first, turn, progress / self.rising)
        return cosine(turn, last, (progress - self.rising) / (1 - self.rising))


def cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine; `progress` in [0, 1]."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
