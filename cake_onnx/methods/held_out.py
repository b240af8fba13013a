"""Samples to judge on: of another seed and another schedule than any the student was trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cake_onnx.bank import Samples
from cake_onnx.devices import generator
from cake_onnx.diffuse import Diffusion, diffuse, draw_wanted
from cake_onnx.graph.specs import InputSpec
from cake_onnx.judge import Suite
from cake_onnx.losses import logit_spread
from cake_onnx.priors import Prior, UniformPrior, ValueRange

_HELD_OUT = Diffusion(steps=12, w_student=0.0)
_AT_BOUNDARY = Diffusion(steps=12, w_contrast=5.0, w_student=0.0)


def held_out_suites(
    teacher: Callable[[Tensor], Tensor],
    prior: Prior,
    input: InputSpec,
    classes: int,
    seed: int,
    size: int,
    device: torch.device,
) -> list[Suite]:
    """Samples of another seed and another schedule than any the student was trained on.

    Held-out samples travel in longer trajectories with no student in the loop, spread over the classes they
    were pushed to: where the teacher is sure, so that a good student may agree on all of them. Samples
    between classes lie on straight lines between two of those that the teacher puts in different classes, so
    that they cross its boundaries; where it calls most things by one name, most of them have it. The lower
    agreement of the two is what the verdict leads with: on real data few students agreed less (docs/tried.md,
    What the verdict leads with). Those at the boundary travel under a contrast that outweighs the class term,
    so they end where the teacher is least sure: the hardest place to agree.

    Args:
        teacher: `(B, *shape)` to logits `(B, K)`, on `device`.
        prior: Start points.
        input: The teacher's input.
        classes: K.
        seed: Of the run; the suites use their own branch of it.
        size: Samples of each suite, about.
        device: Where the teacher is.
    """
    draw = generator(seed, "held-out")
    far, near = (
        _diffused(teacher, prior, ValueRange.of(input, device), classes, size, settings, draw)
        for settings in (_HELD_OUT, _AT_BOUNDARY)
    )
    decided = far.logits.argmax(1)
    return [
        Suite("held-out samples", "held-out", far.x.numpy()),
        Suite("samples between classes", "held-out", _between(far.x, decided, draw).numpy()),
        Suite("samples at the decision boundary", "other", near.x.numpy()),
        Suite("fresh prior samples", "other", prior.draw(size, draw).numpy()),
        Suite("uniform noise", "baseline", UniformPrior(input).draw(size, draw).numpy()),
    ]


def _diffused(
    teacher: Callable[[Tensor], Tensor],
    prior: Prior,
    bounds: ValueRange,
    classes: int,
    size: int,
    settings: Diffusion,
    draw: torch.Generator,
) -> Samples:
    """About `size` samples at the end of their way, on the CPU."""
    group, place = min(10, classes), bounds.low.device
    start = prior.draw(max(1, size // group) * group, draw).to(place)
    wanted = draw_wanted(len(start) // group, group, classes, draw).to(place)
    ends = []
    for x, want in zip(start.split(25 * group), wanted.split(25), strict=True):
        with torch.no_grad():
            logits = teacher(x)
        spread = logit_spread(logits).clamp_min(1e-6)
        ends.append(diffuse(teacher, None, prior, bounds, x, want, spread, settings, draw)[1])
    joined = {
        name: torch.cat([getattr(end, name) for end in ends]).cpu()
        for name in ("x", "logits", "wanted", "travelled")
    }
    return Samples(**joined, round=0)


def _between(x: Tensor, classes: Tensor, draw: torch.Generator) -> Tensor:
    other = torch.randperm(len(x), generator=draw)
    crossing = classes != classes[other]
    if not crossing.any():
        crossing = torch.ones_like(crossing)
    weight = torch.rand(len(x), *[1] * (x.dim() - 1), generator=draw)
    return (weight * x + (1 - weight) * x[other])[crossing]
