"""Samples to judge on: of another seed and another schedule than any the student was trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cake_onnx.devices import generator
from cake_onnx.diffuse import Diffusion, diffuse, draw_wanted
from cake_onnx.graph.specs import InputSpec
from cake_onnx.judge import Suite
from cake_onnx.priors import Prior, UniformPrior, ValueRange


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

    Boundary samples travel in longer trajectories with no student in the loop; walks are points on straight
    lines between two of them that the teacher puts in different classes, so that they cross its boundaries.

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
    bounds = ValueRange.of(input, device)
    group = min(10, classes)
    start = prior.draw(max(1, size // group) * group, draw).to(device)
    wanted = draw_wanted(len(start) // group, group, classes, draw).to(device)
    boundary = []
    settings = Diffusion(steps=12, w_student=0.0)
    for x, want in zip(start.split(25 * group), wanted.split(25), strict=True):
        with torch.no_grad():
            logits = teacher(x)
        spread = (logits - logits.mean(1, keepdim=True)).std().clamp_min(1e-6)
        boundary.append(diffuse(teacher, None, prior, bounds, x, want, spread, settings, draw)[1])
    ends = torch.cat([s.x for s in boundary]).cpu()
    decided = torch.cat([s.logits for s in boundary]).argmax(1).cpu()
    return [
        Suite("held-out boundary samples", "held-out", ends.numpy()),
        Suite("walks between classes", "other", _walks(ends, decided, draw).numpy()),
        Suite("fresh prior samples", "other", prior.draw(size, draw).numpy()),
        Suite("uniform noise", "baseline", UniformPrior(input).draw(size, draw).numpy()),
    ]


def _walks(x: Tensor, classes: Tensor, draw: torch.Generator) -> Tensor:
    other = torch.randperm(len(x), generator=draw)
    crossing = classes != classes[other]
    if not crossing.any():
        crossing = torch.ones_like(crossing)
    weight = torch.rand(len(x), *[1] * (x.dim() - 1), generator=draw)
    return (weight * x + (1 - weight) * x[other])[crossing]
