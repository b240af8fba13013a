"""Samples reach the decision boundary, and neither the class term nor the contrast can be left out.

Each test also runs the ablations: it is the comparison that shows what a term is for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import make_moons
from torch import Tensor, nn

from cake_onnx.devices import generator
from cake_onnx.diffuse import Diffusion, Published, diffuse, diffuse_published, draw_wanted
from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.losses import margin
from cake_onnx.priors import UniformPrior, ValueRange

CLASSES, FEATURES = 4, 6
seeds = pytest.mark.parametrize("seed", [0, 1, 2])


class Linear:
    """Logits `W x + b`. Class 0 owns most of the space, so that most starts lie on one side."""

    def __init__(self) -> None:
        self.weight = torch.randn(CLASSES, FEATURES, generator=generator(0, "weight"))
        self.bias = torch.tensor([4.0, 0.0, 0.0, 0.0])

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias

    def distance(self, x: Tensor) -> Tensor:
        """Euclidean distance `(B,)` to the nearest boundary: a class owns a polytope, so its nearest face."""
        logits = self(x)
        top = logits.argmax(1)
        gaps = logits.gather(1, top[:, None]) - logits
        lengths = torch.cdist(self.weight[top], self.weight)
        faces = gaps / lengths.clamp_min(1e-9)
        return faces.scatter(1, top[:, None], torch.inf).min(1).values


def linear_spec() -> InputSpec:
    return InputSpec("x", (FEATURES,), "float32", "flat", Bounds((-3.0,), (3.0,), "test", False))


def spread_of(logits: Tensor) -> Tensor:
    return (logits - logits.mean(1, keepdim=True)).std()


def test_the_closed_form_distance_is_the_distance() -> None:
    teacher = Linear()
    x = UniformPrior(linear_spec()).draw(50, generator(1))
    directions = F.normalize(torch.randn(4000, FEATURES, generator=generator(2)), dim=1)
    distance = teacher.distance(x)
    for point, radius in zip(x, distance, strict=True):
        own = teacher(point[None]).argmax()
        assert bool((teacher(point + 0.999 * radius * directions).argmax(1) == own).all())
    # Straight to the nearest face, a little further than said, another class wins.
    moving = x.clone().requires_grad_()
    (towards,) = torch.autograd.grad(teacher.distance(moving).sum(), moving)
    crossed = teacher(x - 1.001 * distance[:, None] * F.normalize(towards, dim=1)).argmax(1)
    assert bool((crossed != teacher(x).argmax(1)).all())


@seeds
def test_diffusion_brings_samples_to_the_boundary_of_a_linear_teacher(seed: int) -> None:
    teacher, spec = Linear(), linear_spec()
    draw = generator(seed, "linear")
    prior = UniformPrior(spec)
    start, wanted = prior.draw(400, draw), draw_wanted(100, CLASSES, CLASSES, draw)
    full = Diffusion(steps=40, w_contrast=5.0, w_student=0.0)

    def end(settings: Diffusion) -> Tensor:
        spread = spread_of(teacher(start))
        bounds = ValueRange.of(spec)
        return diffuse(teacher, None, prior, bounds, start, wanted, spread, settings, draw)[1].x

    before = teacher.distance(start).mean()
    reached, samples = teacher.distance(end(full)).mean(), end(full)
    no_class = end(replace(full, w_class=0.0))
    no_contrast = end(replace(full, w_contrast=0.0))
    assert reached < 0.5 * before
    assert reached < 0.5 * teacher.distance(no_class).mean()
    assert reached < 0.25 * teacher.distance(no_contrast).mean()

    def hits(x: Tensor) -> float:
        return float((teacher(x).argmax(1) == wanted.flatten()).float().mean())

    # On the boundary, but each on the side it was sent to; without the class term that is left to chance.
    assert hits(samples) > 0.95
    assert hits(no_class) < 0.35


@seeds
def test_the_published_diffusion_does_so_too(seed: int) -> None:
    teacher, spec = Linear(), linear_spec()
    wanted = draw_wanted(100, CLASSES, CLASSES, generator(seed, "wanted"))
    # The weights are absolute: these are for logits of a few units and 400 samples.
    full = Published(
        sets=4, set_size=400, group=CLASSES, steps=200, w_class=10.0, w_contrast=10.0, w_prior=0.0
    )

    def distance(settings: Published) -> float:
        draw, bounds = generator(seed, "set"), ValueRange.of(spec)
        prior = UniformPrior(spec)
        x = diffuse_published(teacher, prior, bounds, wanted, (FEATURES,), settings, 0, draw).x
        return float(teacher.distance(x).mean())

    reached = distance(full)
    assert reached < 0.25 * distance(replace(full, steps=0))
    assert reached < 0.25 * distance(replace(full, w_class=0.0))
    assert reached < 0.25 * distance(replace(full, w_contrast=0.0))


@cache
def moons() -> tuple[nn.Module, InputSpec, Tensor]:
    """A small network on two moons, its input, and points `(P, 2)` along its boundary in the data's box."""
    features, labels = make_moons(1000, noise=0.1, random_state=0)
    x, y = torch.tensor(features, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(300):
        optimiser.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimiser.step()
    net.requires_grad_(False)
    assert (net(x).argmax(1) == y).float().mean() > 0.99
    low, high = x.min(0).values.tolist(), x.max(0).values.tolist()
    axes = [torch.linspace(low[i], high[i], 300) for i in range(2)]
    grid = torch.cartesian_prod(*axes).view(300, 300, 2)
    first = net(grid.view(-1, 2)).argmax(1).view(300, 300)
    boundary = torch.cat([grid[:-1][first[1:] != first[:-1]], grid[:, :-1][first[:, 1:] != first[:, :-1]]])
    return net, InputSpec("x", (2,), "float32", "flat", Bounds((*low,), (*high,), "test", False)), boundary


@seeds
def test_samples_cover_the_boundary_of_two_moons(seed: int) -> None:
    teacher, spec, boundary = moons()
    draw, near = generator(seed, "moons"), 0.06  # the box is 3.4 wide
    prior = UniformPrior(spec)
    start, wanted = prior.draw(400, draw), draw_wanted(200, 2, 2, draw)
    full = Diffusion(steps=40, w_contrast=10.0, w_student=0.0)

    def covered(x: Tensor) -> float:
        return float((torch.cdist(boundary, x).min(1).values < near).float().mean())

    def end(settings: Diffusion) -> Tensor:
        spread = spread_of(teacher(start))
        bounds = ValueRange.of(spec)
        return diffuse(teacher, None, prior, bounds, start, wanted, spread, settings, draw)[1].x

    samples = end(full)
    assert len(boundary) > 500
    assert covered(samples) >= 0.9
    assert (torch.cdist(samples, boundary).min(1).values < near).float().mean() > 0.9
    assert margin(teacher(samples)).median() < 0.1 * margin(teacher(start)).median()
    # Uniform starts lie everywhere, so some of the boundary is near them by chance.
    assert covered(start) < 0.7
    assert covered(end(replace(full, w_class=0.0))) < 0.7
    assert covered(end(replace(full, w_contrast=0.0))) < 0.1
