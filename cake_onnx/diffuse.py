"""Move samples: from the prior to the teacher's decision boundary, by gradient.

`diffuse` is the normalised form used in rounds, `diffuse_published` is the trajectory of the CAKE paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cake_onnx.bank import Samples
from cake_onnx.errors import RunFailedError
from cake_onnx.losses import class_loss, contrast_pull, disagreement, published_objective
from cake_onnx.priors import Prior, ValueRange

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Diffusion:
    """How samples of a round travel.

    One set serves every teacher: losses are in units of its logits, steps in fractions of the input range.

    Attributes:
        steps: Gradient steps of a trajectory.
        w_class: Weight of the class term (CAKE, L_cls).
        w_contrast: Weight of the contrast (CAKE, L_contr).
        w_prior: Weight of the prior term (CAKE, L_TV for images).
        w_student: Weight of the disagreement between teacher and student, which is raised.
        first_step: Length of the first step, root mean square over the input, fraction of the range.
        last_step: Length of the last step; the ones between fall geometrically.
        noise: Deviation of the noise added after each step, in step lengths; 0 for CAKE, above 0 for LAKE.
    """

    steps: int = 8
    w_class: float = 0.5
    w_contrast: float = 0.1
    w_prior: float = 0.0
    w_student: float = 1.0
    first_step: float = 0.08
    last_step: float = 0.006
    noise: float = 0.0

    def step_length(self, step: int) -> float:
        """Length of step `step`, 0-based."""
        fraction = step / max(1, self.steps - 1)
        return float(self.first_step * (self.last_step / self.first_step) ** fraction)


@dataclass(frozen=True)
class Published:
    """The settings of the paper's MNIST experiment, from the authors' released configuration.

    Attributes:
        sets: Sets drawn one after another.
        set_size: Samples of a set.
        group: Samples of a contrastive group, each wanting another class; at most K.
        steps: SGD steps of a trajectory.
        w_class: Weight of the class term.
        w_contrast: Weight of the contrast.
        w_prior: Weight of the total variation.
        step_size: SGD step size of the first set.
        decades: Decades by which the step size falls over the sets.
        langevin: Add `sqrt(2 step) N(0, 1)` after every step (LAKE) instead of relying on SGD alone (CAKE).
    """

    sets: int = 512
    set_size: int = 500
    group: int = 10
    steps: int = 256
    w_class: float = 1e3
    w_contrast: float = 1e-3
    w_prior: float = 1e7
    step_size: float = 0.1
    decades: float = 4.0
    langevin: bool = False

    def step_of_set(self, index: int) -> float:
        """Step size of set `index`: its magnitude falls linearly over the sets and is constant within one."""
        return float(self.step_size * 10 ** (-self.decades * index / self.sets))


def draw_wanted(groups: int, group: int, classes: int, generator: torch.Generator) -> Tensor:
    """Classes `(groups, group)` to be wanted, all different within a group; `group` at most `classes`."""
    order = torch.rand(groups, classes, generator=generator).argsort(1)
    return order[:, :group]


def diffuse(
    teacher: Logits,
    student: Logits | None,
    prior: Prior,
    bounds: ValueRange,
    start: Tensor,
    wanted: Tensor,
    spread: Tensor,
    settings: Diffusion,
    generator: torch.Generator,
    round_index: int = 0,
) -> tuple[Samples, Samples]:
    """Push groups of samples to the boundary between their wanted classes.

    Each step descends, for every sample on its own,
    `w_class CE(wanted) + w_contrast |z - mean of group|^2 / var(z) + w_prior penalty - w_student gap`,
    the gap being the disagreement of teacher and student.

    Args:
        teacher: `(B, *shape)` to logits `(B, K)`.
        student: The same, or None to leave the disagreement out.
        prior: Gives the penalty and the projection.
        bounds: Range the step lengths are fractions of.
        start: `(N * G, *shape)`, group by group.
        wanted: `(N, G)`.
        spread: Standard deviation of the teacher's logits, a scalar tensor.
        settings: Weights and steps.
        generator: For the noise, if there is any.
        round_index: Written into the samples.

    Returns:
        The samples half way and at the end. The labels of the first come for free, those of the end cost
        one forward pass.

    Raises:
        RunFailedError: The objective is not finite.
    """
    x, flat_wanted = start, wanted.flatten()
    halfway: Samples | None = None
    for step in range(settings.steps):
        x = x.detach().requires_grad_()
        logits = teacher(x)
        if step == settings.steps // 2:
            halfway = _samples(start, x, logits, flat_wanted, bounds, round_index)
        gradient = _gradient(_objective(x, logits, wanted, student, prior, spread, settings), x, step)
        length = settings.step_length(step)
        x = prior.project(x.detach() - length * bounds.span * _unit_rms(gradient * bounds.span))
        if settings.noise:
            noise = torch.randn(x.shape, generator=generator).to(x.device)
            x = prior.project(x + settings.noise * length * bounds.span * noise)
    x = x.detach()
    with torch.no_grad():
        end = _samples(start, x, teacher(x), flat_wanted, bounds, round_index)
    return halfway or end, end


def diffuse_published(
    teacher: Logits,
    prior: Prior,
    bounds: ValueRange,
    wanted: Tensor,
    shape: tuple[int, ...],
    settings: Published,
    index: int,
    generator: torch.Generator,
) -> Samples:
    """One set as published (CAKE, algorithm 1): N(0, 1) noise, plain SGD on the batch objective, no bounds.

    Args:
        teacher: `(B, *shape)` to logits `(B, K)`.
        prior: Gives the penalty: total variation for images.
        bounds: Only used to tell how far samples travelled.
        wanted: `(N, G)`.
        shape: One input without batch.
        settings: The published numbers.
        index: Which set; decides the step size.
        generator: For the noise.

    Raises:
        RunFailedError: The objective is not finite, checked at every step.
    """
    eps = settings.step_of_set(index)
    start = torch.randn(wanted.numel(), *shape, generator=generator)
    x = start = start.to(bounds.low.device)
    for step in range(settings.steps):
        x = x.detach().requires_grad_()
        logits = teacher(x).view(*wanted.shape, -1)
        penalty = prior.penalty(x)
        objective = published_objective(
            logits, wanted, penalty, settings.w_class, settings.w_contrast, settings.w_prior
        )
        x = x.detach() - eps * _gradient(objective, x, step)
        if settings.langevin:
            noise = torch.randn(x.shape, generator=generator).to(x.device)
            x = x + (2 * eps) ** 0.5 * noise
    with torch.no_grad():
        return _samples(start, x, teacher(x), wanted.flatten(), bounds, index)


def _objective(
    x: Tensor,
    logits: Tensor,
    wanted: Tensor,
    student: Logits | None,
    prior: Prior,
    spread: Tensor,
    settings: Diffusion,
) -> Tensor:
    loss = settings.w_class * class_loss(logits, wanted.flatten())
    if settings.w_contrast:
        loss = loss + settings.w_contrast * contrast_pull(logits.view(*wanted.shape, -1), spread)
    if settings.w_prior:
        loss = loss + settings.w_prior * prior.penalty(x)
    if student is not None and settings.w_student:
        loss = loss - settings.w_student * disagreement(logits, student(x), spread)
    return loss.sum()


def _gradient(objective: Tensor, x: Tensor, step: int) -> Tensor:
    if not torch.isfinite(objective):
        raise RunFailedError(
            "a finite loss while samples move to the boundary",
            f"{objective.item()} at step {step}",
            "state the input's true range with `--input-range LO,HI`; with `--method paper`, whose weights "
            "are absolute, use `--method rounds`",
        )
    (gradient,) = torch.autograd.grad(objective, x)
    return gradient


def _unit_rms(gradient: Tensor) -> Tensor:
    """Scale each sample's gradient to a root mean square of 1; a zero gradient stays zero."""
    axes = tuple(range(1, gradient.dim()))
    return gradient / gradient.square().mean(axes, keepdim=True).sqrt().clamp_min(1e-20)


def _samples(
    start: Tensor, x: Tensor, logits: Tensor, wanted: Tensor, bounds: ValueRange, index: int
) -> Samples:
    moved = ((x.detach() - start) / bounds.span).flatten(1)
    return Samples(x.detach(), logits.detach().float(), wanted, moved.square().mean(1).sqrt(), index)
