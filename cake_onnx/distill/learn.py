"""A round, or a published epoch, of teaching: what the student sees, labelled by the teacher."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from cake_onnx.bank import Bank
from cake_onnx.distill.apprentice import Apprentice, Logits, means
from cake_onnx.distill.features import Features
from cake_onnx.distill.settings import Distillation, PublishedDistillation, cosine
from cake_onnx.priors import Prior


def compose_batch(
    bank: Bank, pool: Bank, prior: Prior, settings: Distillation, generator: torch.Generator
) -> Tensor:
    """A batch for the student, `(B, *shape)` where the bank is: from pool and bank, varied.

    Samples are not mixed with one another (mixup, Zhang et al., 2018): an MLP that learnt from blends agreed
    with its teacher on 73%, one that learnt from samples as they are on 80% (docs/tried.md, Mixing).
    """
    banked = round(settings.batch * (1 - settings.prior_share)) if len(bank) else 0
    fresh = pool.draw(settings.batch - banked, generator)
    x = torch.cat([fresh, bank.draw(banked, generator)]) if banked else fresh
    # Storage in half precision may round a value at a bound to just beyond it.
    return prior.augment(prior.project(x), generator)


def learn_round(
    apprentice: Apprentice,
    teacher: Logits,
    bank: Bank,
    pool: Bank,
    prior: Prior,
    settings: Distillation,
    progress: float,
    per_round: float,
    generator: torch.Generator,
    features: Features | None = None,
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
        generator: Of this round.
        features: Compares layers, for a student that has those of its teacher.

    Returns:
        Mean loss and mean agreement over the steps.
    """
    seen = []
    with apprentice.training(generator.initial_seed()):
        for step in range(settings.steps):
            x = compose_batch(bank, pool, prior, settings, generator)
            done = progress + per_round * step / settings.steps
            with nullcontext() if features is None else features.watched() as mismatch:
                with torch.no_grad():
                    labels = teacher(x)
                rate = cosine(settings.learning_rate, 0.0, done)
                aside = _weighted(mismatch, settings.features * (1 - done))
                seen.append(apprentice.learn(x, labels, rate, settings.temperature, aside=aside))
    return means(seen)


def _weighted(loss: Callable[[], Tensor] | None, weight: float) -> Callable[[], Tensor] | None:
    return None if loss is None else lambda: weight * loss()


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
    total_steps, seen = len(order) * settings.epochs, []
    with apprentice.training(generator.initial_seed()):
        for step, index in enumerate(order):
            progress = (epoch * len(order) + step) / total_steps
            rate, momentum = settings.rate_at(progress), settings.momentum_at(progress)
            x_now, labels = x[index].float().to(device), logits[index].to(device)
            seen.append(apprentice.learn(x_now, labels, rate, momentum=momentum))
    return means(seen)
