"""Move the student: towards the teacher's soft labels, on samples that diffusion and the prior supply."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cake_onnx.bank import Bank
from cake_onnx.errors import RunFailedError
from cake_onnx.losses import soft_label_loss
from cake_onnx.priors import Prior

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Distillation:
    """How the student learns in a round.

    Attributes:
        steps: Student steps a round.
        batch: Samples a step, B.
        prior_share: Share of a batch that comes from the prior's pool; the rest comes from the bank.
        mix_share: Share of a batch that is mixed with another sample of it, by a uniform weight.
        learning_rate: AdamW's, falling to 0 by a cosine over the run.
        weight_decay: AdamW's.
        temperature: T of the soft labels.
    """

    steps: int = 30
    batch: int = 256
    prior_share: float = 0.6
    mix_share: float = 0.3
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    temperature: float = 1.0


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
            return _cosine(first, turn, progress / self.rising)
        return _cosine(turn, last, (progress - self.rising) / (1 - self.rising))


def compose_batch(
    bank: Bank, pool: Bank, prior: Prior, settings: Distillation, generator: torch.Generator
) -> Tensor:
    """A batch for the student, `(B, *shape)` on the CPU: from the pool and the bank, varied, partly mixed.

    Mixing walks straight lines between samples, and a line between two classes crosses a boundary.
    """
    banked = round(settings.batch * (1 - settings.prior_share)) if len(bank) else 0
    fresh = pool.draw(settings.batch - banked, generator)
    x = torch.cat([fresh, bank.draw(banked, generator)]) if banked else fresh
    # Storage in half precision may round a value at a bound to just beyond it.
    x = prior.augment(prior.project(x), generator)
    column = (-1, *[1] * (x.dim() - 1))
    mixed = (torch.rand(len(x), generator=generator) < settings.mix_share).view(column)
    weight = torch.rand(len(x), generator=generator).view(column)
    other = x[torch.randperm(len(x), generator=generator)]
    return prior.project(torch.where(mixed, weight * x + (1 - weight) * other, x))


class Apprentice:
    """A student with its optimiser: what a round changes and a checkpoint keeps.

    Args:
        module: `(B, *shape)` to `(B, K)`; trained in place.
        optimiser: Over the parameters of `module`.
        run: The module in the precision of the device.
    """

    def __init__(self, module: nn.Module, optimiser: torch.optim.Optimizer, run: Logits) -> None:
        self.module = module
        self.optimiser = optimiser
        self.run = run

    def learn(
        self,
        x: Tensor,
        teacher: Tensor,
        rate: float,
        temperature: float = 1.0,
        momentum: float | None = None,
    ) -> tuple[float, float]:
        """One step on `(B, *shape)` with the teacher's logits `(B, K)`.

        Args:
            x: What the student sees.
            teacher: What it should say.
            rate: Learning rate of this step.
            temperature: T of the soft labels.
            momentum: Of this step, for SGD under a schedule; None leaves it as it is.

        Returns:
            Mean loss and the share of samples on which both decide alike, before the step.

        Raises:
            RunFailedError: The loss is not finite.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
            if momentum is not None:
                group["momentum"] = momentum
        logits = self.run(x)
        loss = soft_label_loss(logits, teacher, temperature).mean()
        if not torch.isfinite(loss):
            raise RunFailedError(
                "a finite loss while the student learns",
                f"{loss.item()}",
                "state the input's true range with `--input-range LO,HI`, or choose another `--student`",
            )
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item(), float((logits.argmax(1) == teacher.argmax(1)).float().mean())

    def state(self) -> dict[str, Tensor]:
        """Weights and optimiser state as flat tensors, for a checkpoint."""
        tensors = {f"student.{name}": value for name, value in self.module.state_dict().items()}
        for index, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {
                f"optimiser.{index}.{name}": value for name, value in slots.items() if value is not None
            }
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        weights = {
            name.removeprefix("student."): value
            for name, value in tensors.items()
            if name.startswith("student.")
        }
        self.module.load_state_dict(weights)
        slots: dict[int, dict[str, Tensor]] = {}
        weights_in_order = [weight for group in self.optimiser.param_groups for weight in group["params"]]
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, slot = name.split(".", 2)
                weight = weights_in_order[int(index)]
                if value.shape == weight.shape:
                    # In the memory layout of the weight, or another loop with another rounding would run.
                    value = torch.empty_like(weight).copy_(value)
                slots.setdefault(int(index), {})[slot] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": slots})


def apprentice_for_rounds(module: nn.Module, run: Logits, settings: Distillation) -> Apprentice:
    """AdamW on all parameters of `module`."""
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    return Apprentice(module, optimiser, run)


def apprentice_as_published(module: nn.Module, run: Logits, settings: PublishedDistillation) -> Apprentice:
    """SGD with momentum on all parameters of `module`."""
    optimiser = torch.optim.SGD(
        module.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    return Apprentice(module, optimiser, run)


def learn_round(
    apprentice: Apprentice,
    teacher: Logits,
    bank: Bank,
    pool: Bank,
    prior: Prior,
    settings: Distillation,
    progress: float,
    per_round: float,
    device: torch.device,
    generator: torch.Generator,
) -> tuple[float, float]:
    """The student's part of a round: the teacher labels what the student really sees.

    Args:
        apprentice: Trained in place.
        teacher: `(B, *shape)` to `(B, K)`.
        bank: Samples on the way to the boundary.
        pool: Samples of the prior.
        prior: Varies samples.
        settings: The student's part of the defaults.
        progress: Share of the run that is done, [0, 1).
        per_round: Share of the run that one round is.
        device: Where both networks live.
        generator: Of this round.

    Returns:
        Mean loss and mean agreement over the steps.
    """
    losses, agreements = 0.0, 0.0
    for step in range(settings.steps):
        x = compose_batch(bank, pool, prior, settings, generator).to(device)
        with torch.no_grad():
            labels = teacher(x)
        rate = _cosine(settings.learning_rate, 0.0, progress + per_round * step / settings.steps)
        loss, agreement = apprentice.learn(x, labels, rate, settings.temperature)
        losses, agreements = losses + loss, agreements + agreement
    return losses / settings.steps, agreements / settings.steps


def learn_epoch(
    apprentice: Apprentice,
    bank: Bank,
    logits: Tensor,
    settings: PublishedDistillation,
    epoch: int,
    device: torch.device,
    generator: torch.Generator,
) -> tuple[float, float]:
    """One epoch as published: shuffled batches, labels computed once, no augmentation, no mixing.

    Args:
        apprentice: Trained in place.
        bank: All sets.
        logits: The teacher's logits of the bank's samples `(count, K)`, in its order.
        settings: The published numbers.
        epoch: 0-based.
        device: Where the student lives.
        generator: Of this epoch.

    Returns:
        Mean loss and mean agreement over the batches.
    """
    x = bank.state()["x"]
    order = torch.randperm(len(x), generator=generator).split(settings.batch)
    total_steps, losses, agreements = len(order) * settings.epochs, 0.0, 0.0
    for step, index in enumerate(order):
        progress = (epoch * len(order) + step) / total_steps
        loss, agreement = apprentice.learn(
            x[index].float().to(device),
            logits[index].to(device),
            settings.rate_at(progress),
            momentum=settings.momentum_at(progress),
        )
        losses, agreements = losses + loss, agreements + agreement
    return losses / len(order), agreements / len(order)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
