"""The defaults of `--method rounds`, which are those of every run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from cake_onnx.diffuse import Diffusion
from cake_onnx.distill import Distillation


@dataclass(frozen=True)
class Narrowing:
    """How a student that starts as the teacher becomes small.

    Attributes:
        share: Part of the run, from its start, in which channels go.
        least_rounds: Rounds in which they go, at least, though no more than half of a run: what a channel is
            worth changes while others go, and is asked anew once a round.
        notches: Times at which some of them go, evenly spread.
        learning_rate: AdamW's, falling to 0 by a cosine.
        relative: Whether it is in units of the root mean square of each weight (as Adafactor's, Shazeer and
            Stern 2018). Steps of one size for all would undo what small weights know, as those of wide layers
            are, and hardly move large ones.
        normalised: Whether batch normalisations are added behind convolutions while it learns (Ioffe and
            Szegedy 2015), and folded into them in the end.
        least_steps: Steps in the whole run, at least, as `RoundSettings.least_steps` from scratch.
        samples: Samples on which channels are weighed, half from the pool and half from the bank.
    """

    share: float = 0.25
    least_rounds: int = 5
    notches: int = 40
    learning_rate: float = 0.02
    relative: bool = True
    normalised: bool = True
    least_steps: int = 2400
    samples: int = 256

    def over(self, rounds: int) -> Narrowing:
        """The same for a run of so many rounds, `share` being what `least_rounds` asks for."""
        return replace(self, share=max(self.share, min(0.5, self.least_rounds / rounds)))

    def notches_by(self, done: float) -> int:
        """Notches that are due when `done` of the run is done, [0, 1]."""
        return math.floor(min(1.0, done / self.share) * self.notches)


@dataclass(frozen=True)
class RoundSettings:
    """The defaults of `--method rounds`.

    Attributes:
        samples: Samples diffused a round.
        diffuses: False spends all passes on labels of the prior's samples, which is the baseline; None leaves
            that to the student, see `fitted.diffuses`.
        group: Samples of a contrastive group; fewer where there are fewer classes.
        pool: Most prior samples held, all drawn at the start.
        refresh: Prior samples drawn anew each round; they take the places of random ones.
        drawn: Pictures drawn each round, instead, for a student that lacks them, see `fitted.lacks_pictures`;
            with `candidates` the teacher chooses some of them.
        candidates: Pictures drawn for each that the pool takes, the teacher choosing (`pool.draw_chosen`), or
            sees, letting go of its commonest class first (`pool.draw_labelled`); 1 takes what comes, see
            `fitted.candidates_each`.
        asked: Pictures on which the teacher shows which kinds of them it tells apart (`pool.suited`), fewer
            in a short run; 0 draws all kinds alike, as for rows of numbers.
        pool_elements: Most numbers in the pool, which shortens it for large inputs.
        bank: Most samples kept.
        bank_elements: Most numbers in the bank.
        least_steps: Steps of a student from scratch in the whole run, at least: a short run takes smaller
            batches, see `parts_of_batch`.
        smallest_batch: Samples of a batch that is not split further.
        diffusion: How samples travel.
        distillation: How the student learns.
        narrowing: How a student that starts as the teacher becomes small.
    """

    samples: int = 250
    diffuses: bool | None = None
    group: int = 10
    pool: int = 20_000
    refresh: int = 100
    drawn: int = 2000
    candidates: int = 5
    asked: int = 4000
    pool_elements: int = 24_000_000
    bank: int = 100_000
    bank_elements: int = 200_000_000
    least_steps: int = 9000
    smallest_batch: int = 32
    diffusion: Diffusion = field(default_factory=Diffusion)
    distillation: Distillation = field(default_factory=Distillation)
    narrowing: Narrowing = field(default_factory=Narrowing)

    @property
    def passes(self) -> float:
        """Teacher passes of one round, without the pool: every step one, and a half for each label."""
        return (
            self.samples * (self.diffusion.steps + 0.5)
            + 0.5 * self.distillation.steps * self.distillation.batch
        )

    def passes_of(self, rounds: int) -> float:
        """Teacher passes of a run; each picture on which the teacher is asked what to draw costs a half."""
        chosen = self.candidates * (self.pool + rounds * self.refresh) if self.candidates > 1 else 0
        return rounds * self.passes + 0.5 * (self.asked + chosen)
