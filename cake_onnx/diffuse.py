"""Move samples: from the prior to the teacher's decision boundary, by gradient.

`diffuse` is the normalised form used in rounds, `diffuse_published` is the trajectory of the CAKE paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cake_onnx.bank import Samples
from cake_onnx.errors import RunFailedError
from cake_onnx.losses import class_slope, contrast_slope, disagreement_slope, published_objective
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
    x, flat_wanted, watch = start, wanted.flatten(), _Watch()
    halfway: Samples | None = None
    for step in range(settings.steps):
        x = x.detach().requires_grad_()
        logits = teacher(x)
        if step == settings.steps // 2:
            halfway = _samples(start, x, logits, flat_wanted, bounds, round_index)
        gradient = _slope(x, logits, wanted, student, prior, spread, settings, watch)
        length = settings.step_length(step)
        x = prior.project(_moved(x.detach(), gradient, length, bounds.span))
        if settings.noise:
            noise = torch.randn(x.shape, generator=generator).to(x.device)
            x = prior.project(x + settings.noise * length * bounds.span * noise)
    watch.close()
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
    start, watch = torch.randn(wanted.numel(), *shape, generator=generator), _Watch()
    x = start = start.to(bounds.low.device)
    for _ in range(settings.steps):
        x = x.detach().requires_grad_()
        logits = teacher(x).view(*wanted.shape, -1)
        penalty = prior.penalty(x)
        objective = published_objective(
            logits, wanted, penalty, settings.w_class, settings.w_contrast, settings.w_prior
        )
        watch.see(objective)
        (gradient,) = torch.autograd.grad(objective, x)
        x = x.detach() - eps * gradient
        if settings.langevin:
            noise = torch.randn(x.shape, generator=generator).to(x.device)
            x = x + (2 * eps) ** 0.5 * noise
    watch.close()
    with torch.no_grad():
        return _samples(start, x, teacher(x), wanted.flatten(), bounds, index)


def _slope(
    x: Tensor,
    logits: Tensor,
    wanted: Tensor,
    student: Logits | None,
    prior: Prior,
    spread: Tensor,
    settings: Diffusion,
    watch: _Watch,
) -> Tensor:
    """Derivative of the objective, the sum over all samples, with respect to `x`.

    Only the networks are left to autograd. The terms are functions of logits with short derivatives, and a
    graph of them took a small network as long as its own pass.
    """
    z = logits.detach()
    slope = settings.w_class * class_slope(z, wanted.flatten())
    if settings.w_contrast:
        slope += settings.w_contrast * contrast_slope(z.view(*wanted.shape, -1), spread)
    heads, slopes, seen = [logits], [slope], z.sum()
    if student is not None and settings.w_student:
        answer = student(x)
        gap = settings.w_student * disagreement_slope(z, answer.detach(), spread)
        slope -= gap
        heads, slopes, seen = [logits, answer], [slope, gap], seen + answer.detach().sum()
    watch.see(seen)
    if settings.w_prior:
        penalty = prior.penalty(x)
        if penalty.requires_grad:
            heads, slopes = [*heads, penalty], [*slopes, torch.full_like(penalty, settings.w_prior)]
    (gradient,) = torch.autograd.grad(heads, x, slopes)
    return gradient


def _moved(x: Tensor, gradient: Tensor, length: float, span: Tensor) -> Tensor:
    """`x - length * span * g / rms(g)` for `g = span * gradient`; a sample without gradient stays.

    Written with as few passes over the samples as there can be: a network may be as quick as one of them.
    """
    one: Tensor | float = span if span.numel() == 1 else 1.0
    g = gradient if span.numel() == 1 else gradient * span
    rms = one * _root_mean_square(g)
    return torch.addcmul(x, g, one * span / rms.clamp_min(1e-20), value=-length)


def _root_mean_square(x: Tensor) -> Tensor:
    """Of each of `(B, *shape)`, `(B, 1, …)`; one pass, where a square and its mean would take three."""
    axes = tuple(range(1, x.dim()))
    norm: Tensor = torch.linalg.vector_norm(x, dim=axes, keepdim=True)
    return norm / math.sqrt(x[0].numel())


class _Watch:
    """Stops a trajectory that is not finite any more; on a GPU at its end, since looking makes it wait."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []

    def see(self, total: Tensor) -> None:
        """Take note of a scalar that is not finite where anything of a step is not."""
        self._sums.append(total.detach())
        if total.device.type == "cpu":
            self._judge(len(self._sums) - 1)

    def close(self) -> None:
        """Look at all steps."""
        self._judge(0)

    def _judge(self, first: int) -> None:
        for step, total in enumerate(map(float, self._sums[first:]), first):
            if not math.isfinite(total):
                raise RunFailedError(
                    "a finite loss while samples move to the boundary",
                    f"{total} at step {step}",
                    "state the input's true range with `--input-range LO,HI`; with `--method paper`, whose "
                    "weights are absolute, use `--method rounds`",
                )


def _samples(
    start: Tensor, x: Tensor, logits: Tensor, wanted: Tensor, bounds: ValueRange, index: int
) -> Samples:
    moved = x.detach() - start
    if bounds.span.numel() == 1:
        travelled = _root_mean_square(moved) / bounds.span
    else:
        travelled = _root_mean_square(moved / bounds.span)
    return Samples(x.detach(), logits.detach().float(), wanted, travelled.flatten(), index)
