"""Paths of samples, one step at a time: what `diffuse` and `diffuse_published` promise."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cake_onnx.devices import generator
from cake_onnx.diffuse import Diffusion, Published, diffuse, diffuse_published, draw_wanted
from cake_onnx.errors import RunFailedError
from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.losses import class_loss, contrast_pull, disagreement
from cake_onnx.priors import ImagePrior, UniformPrior, ValueRange

CLASSES = 4
SPEC = InputSpec("x", (5,), "float32", "flat", Bounds((-2.0,), (6.0,), "test", False))
BOUNDS = ValueRange.of(SPEC)
PRIOR = UniformPrior(SPEC)
SPREAD = torch.tensor(1.3)
IMAGE = InputSpec("x", (1, 32, 32), "float32", "NCHW", Bounds((0.0,), (1.0,), "test", False))


def mlp(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, CLASSES)).requires_grad_(False)


def lenet5() -> nn.Module:
    """LeNet-5 as the paper uses it: 32 x 32, five by five kernels, 6-16-120-84."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    ).requires_grad_(False)  # fmt: skip


TEACHER, STUDENT = mlp(0), mlp(1)
torch.manual_seed(2)
PICTURES = nn.Sequential(
    nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(216, CLASSES)
).requires_grad_(False)  # fmt: skip


def groups(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = generator(seed, "test")
    return PRIOR.draw(count * CLASSES, draw), draw_wanted(count, CLASSES, CLASSES, draw)


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 2**31))
def test_wanted_classes_differ_within_a_group(count: int, group: int, seed: int) -> None:
    wanted = draw_wanted(count, group, 9, torch.Generator().manual_seed(seed))
    assert wanted.shape == (count, group)
    assert all(len(set(row)) == group and set(row) <= set(range(9)) for row in wanted.tolist())


def test_every_class_is_wanted_alike() -> None:
    counts = torch.bincount(draw_wanted(2000, 3, 6, generator(0)).flatten())
    assert bool(((counts - 1000).abs() < 120).all())


def test_the_path_of_a_group_does_not_depend_on_the_others() -> None:
    start, wanted = groups(6)
    both = Diffusion(steps=6, w_contrast=0.5)
    together = diffuse(TEACHER, STUDENT, PRIOR, BOUNDS, start, wanted, SPREAD, both, generator(0))
    for index in (0, 3, 5):
        mine = slice(index * CLASSES, (index + 1) * CLASSES)
        alone = diffuse(
            TEACHER,
            STUDENT,
            PRIOR,
            BOUNDS,
            start[mine],
            wanted[index : index + 1],
            SPREAD,
            both,
            generator(0),
        )
        for whole, part in zip(together, alone, strict=True):
            torch.testing.assert_close(whole.x[mine], part.x, rtol=0, atol=1e-5)
            torch.testing.assert_close(whole.logits[mine], part.logits, rtol=0, atol=1e-5)
            torch.testing.assert_close(whole.travelled[mine], part.travelled, rtol=0, atol=1e-6)


def test_without_contrast_the_path_of_a_sample_is_its_own() -> None:
    start, wanted = groups(3)
    lonely = Diffusion(w_contrast=0.0)
    together = diffuse(TEACHER, STUDENT, PRIOR, BOUNDS, start, wanted, SPREAD, lonely, generator(0))[1]
    alone = diffuse(
        TEACHER, STUDENT, PRIOR, BOUNDS, start[2:3], wanted[0, 2].view(1, 1), SPREAD, lonely, generator(0)
    )[1]
    torch.testing.assert_close(together.x[2:3], alone.x, rtol=0, atol=1e-5)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    steps=st.integers(1, 6),
    first_step=st.floats(1e-3, 3.0),
    noise=st.sampled_from([0.0, 0.5, 5.0]),
    outside=st.floats(0, 3),
)
def test_bounds_are_never_left(
    seed: int, steps: int, first_step: float, noise: float, outside: float
) -> None:
    draw = generator(seed, "bounds")
    start = BOUNDS.clamp(BOUNDS.from_unit(0.5 + outside * torch.randn(8, 5, generator=draw)))
    wanted = draw_wanted(2, CLASSES, CLASSES, draw)
    far = Diffusion(steps=steps, first_step=first_step, last_step=first_step / 2, noise=noise)
    for samples in diffuse(TEACHER, STUDENT, PRIOR, BOUNDS, start, wanted, SPREAD, far, draw):
        assert bool(((samples.x >= BOUNDS.low) & (samples.x <= BOUNDS.high)).all())


def test_a_step_has_the_length_that_is_said() -> None:
    start, wanted = groups(5)
    middle = start * 0.1 + 2  # far from the bounds, so that nothing is clamped
    one = Diffusion(steps=1, first_step=0.03)
    end = diffuse(TEACHER, STUDENT, PRIOR, BOUNDS, middle, wanted, SPREAD, one, generator(0))[1]
    torch.testing.assert_close(end.travelled, torch.full((20,), 0.03))
    torch.testing.assert_close(
        ((end.x - middle) / BOUNDS.span).square().mean(1).sqrt(), torch.full((20,), 0.03)
    )


def test_step_lengths_fall_geometrically() -> None:
    lengths = [Diffusion().step_length(step) for step in range(8)]
    assert lengths[0] == pytest.approx(0.08)
    assert lengths[-1] == pytest.approx(0.006)
    assert [b / a for a, b in itertools.pairwise(lengths)] == pytest.approx([(0.006 / 0.08) ** (1 / 7)] * 7)


def test_a_step_descends_the_objective_that_is_written() -> None:
    start, wanted = groups(2)
    middle = (start * 0.1 + 2).requires_grad_()
    chosen = Diffusion(steps=1, w_class=0.7, w_contrast=0.3, w_student=0.9, first_step=0.01)
    z, s = TEACHER(middle), STUDENT(middle)
    pull = (z.view(2, 4, 4) - z.view(2, 4, 4).mean(1, keepdim=True)).square().mean(2).flatten() / SPREAD**2
    gap = ((z - z.mean(1, keepdim=True)) - (s - s.mean(1, keepdim=True))).abs().mean(1) / SPREAD
    objective = 0.7 * F.cross_entropy(z, wanted.flatten(), reduction="none") + 0.3 * pull - 0.9 * gap
    (gradient,) = torch.autograd.grad(objective.sum(), middle)
    step = 0.01 * 8 * gradient / gradient.square().mean(1, keepdim=True).sqrt()
    end = diffuse(TEACHER, STUDENT, PRIOR, BOUNDS, middle.detach(), wanted, SPREAD, chosen, generator(0))[1]
    torch.testing.assert_close(end.x, (middle - step).detach(), rtol=0, atol=1e-5)


def literal_path(
    student: nn.Module,
    prior: ImagePrior,
    bounds: ValueRange,
    start: Tensor,
    wanted: Tensor,
    chosen: Diffusion,
) -> Tensor:
    """The objective of every step as it is written, and its derivative by autograd."""
    x = start
    for step in range(chosen.steps):
        x = x.detach().requires_grad_()
        z, s = PICTURES(x), student(x)
        loss = (
            chosen.w_class * class_loss(z, wanted.flatten())
            + chosen.w_contrast * contrast_pull(z.view(*wanted.shape, -1), SPREAD)
            + chosen.w_prior * prior.penalty(x)
            - chosen.w_student * disagreement(z, s, SPREAD)
        )
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        g = bounds.span * gradient
        unit = g / g.square().mean((1, 2, 3), keepdim=True).sqrt()
        x = prior.project(x.detach() - chosen.step_length(step) * bounds.span * unit)
    return x


@pytest.mark.parametrize("w_prior", [0.0, 2.0])
@pytest.mark.parametrize("high", [(1.0, 1.0, 1.0), (1.0, 2.0, 5.0)], ids=["one range", "a range for each"])
def test_a_path_is_that_of_the_objective_as_it_is_written(w_prior: float, high: tuple[float, ...]) -> None:
    spec = InputSpec("x", (3, 8, 8), "float32", "NCHW", Bounds((-2.0,) * 3, high, "test", False))
    prior, bounds = ImagePrior(spec, (3, 8, 8)), ValueRange.of(spec)
    start, wanted = prior.draw(12, generator(1)), draw_wanted(3, 4, 4, generator(2))
    torch.manual_seed(3)
    student = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 4))
    chosen = Diffusion(w_prior=w_prior, steps=4)
    end = diffuse(PICTURES, student, prior, bounds, start, wanted, SPREAD, chosen, generator(0))[1]
    literal = literal_path(student, prior, bounds, start, wanted, chosen)
    torch.testing.assert_close(end.x, literal, rtol=0, atol=1e-4)
    far = ((literal - start) / bounds.span).square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(end.travelled, far, rtol=1e-4, atol=1e-4)


def test_halfway_and_end_carry_the_teachers_logits() -> None:
    start, wanted = groups(3)
    halfway, end = diffuse(
        TEACHER, STUDENT, PRIOR, BOUNDS, start, wanted, SPREAD, Diffusion(), generator(0), round_index=7
    )
    for samples in (halfway, end):
        torch.testing.assert_close(samples.logits, TEACHER(samples.x))
        assert torch.equal(samples.wanted, wanted.flatten())
        assert samples.round == 7
        assert not samples.x.requires_grad
    assert bool((end.travelled > 0).all())
    assert not torch.equal(halfway.x, end.x)


def test_noise_comes_from_the_generator_and_only_where_asked() -> None:
    start, wanted = groups(3)

    def end(noise: float, seed: int) -> Tensor:
        chosen = Diffusion(noise=noise)
        return diffuse(
            TEACHER, None, PRIOR, BOUNDS, start, wanted, SPREAD, chosen, generator(seed)
        )[1].x  # fmt: skip

    assert torch.equal(end(0.0, 1), end(0.0, 2))
    assert torch.equal(end(0.5, 1), end(0.5, 1))
    assert not torch.equal(end(0.5, 1), end(0.5, 2))


def test_the_prior_term_smooths_pictures() -> None:
    prior, bounds = ImagePrior(IMAGE, (1, 32, 32)), ValueRange.of(IMAGE)
    start = UniformPrior(IMAGE).draw(10, generator(0))
    only = Diffusion(w_class=0.0, w_contrast=0.0, w_prior=1.0, w_student=0.0)
    end = diffuse(lenet5(), None, prior, bounds, start, torch.arange(10)[None], SPREAD, only, generator(0))[1]
    assert bool((prior.penalty(end.x) < 0.8 * prior.penalty(start)).all())


def test_an_overflow_is_told_with_the_step() -> None:
    start, wanted = groups(1)

    def broken(x: Tensor) -> Tensor:
        return TEACHER(x) * math.inf  # type: ignore[no-any-return]

    with pytest.raises(RunFailedError, match=r"nan at step 0.*--input-range LO,HI"):
        diffuse(broken, None, PRIOR, BOUNDS, start, wanted, SPREAD, Diffusion(), generator(0))


def test_published_defaults_are_the_published_numbers() -> None:
    published = dataclasses.asdict(Published())
    assert published == {
        "sets": 512, "set_size": 500, "group": 10, "steps": 256,
        "w_class": 1e3, "w_contrast": 1e-3, "w_prior": 1e7,
        "step_size": 0.1, "decades": 4.0, "langevin": False,
    }  # fmt: skip


def test_published_step_size_falls_four_decades_over_the_sets() -> None:
    sizes = [Published().step_of_set(index) for index in range(512)]
    assert sizes[0] == pytest.approx(0.1)
    assert sizes[128] == pytest.approx(0.01)
    assert sizes[256] == pytest.approx(0.001)
    assert sizes[511] == pytest.approx(10 ** (-1 - 4 * 511 / 512))


def literal_set(teacher: nn.Module, wanted: Tensor, chosen: Published, index: int, seed: int) -> Tensor:
    """The published algorithm for one set, with torch's SGD and the tensor of all pairs."""
    draw = generator(seed, "set")
    count, group = wanted.shape
    eps = 10 ** (math.log10(chosen.step_size) - index / chosen.sets * chosen.decades)
    x = torch.randn(count * group, 1, 32, 32, generator=draw).requires_grad_()
    optimiser = torch.optim.SGD([x], lr=eps)
    for _ in range(chosen.steps):
        z = teacher(x).view(count, group, 10)
        pairs = (z.unsqueeze(1) - z.unsqueeze(2)).square().mean()
        tv = (x[..., 1:, :] - x[..., :-1, :]).abs().mean() + (x[..., 1:] - x[..., :-1]).abs().mean()
        loss = (
            chosen.w_class * F.cross_entropy(z.flatten(0, 1), wanted.flatten()) * group
            + chosen.w_contrast * 0.5 * group**2 * pairs
            + chosen.w_prior * tv
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if chosen.langevin:
            x.data = x.data + math.sqrt(2 * eps) * torch.randn(x.shape, generator=draw)
    return x.detach()


@pytest.mark.parametrize("langevin", [False, True], ids=["CAKE", "LAKE"])
@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("weights", [(1e3, 1e-3, 1e7), (1e3, 10.0, 1e2)], ids=["published", "milder"])
def test_a_set_is_moved_as_published(langevin: bool, index: int, weights: tuple[float, float, float]) -> None:
    teacher, prior = lenet5(), ImagePrior(IMAGE, (1, 32, 32))
    chosen = Published(4, 20, 10, 3, *weights, langevin=langevin)
    wanted = draw_wanted(2, 10, 10, generator(3, "wanted"))
    samples = diffuse_published(
        teacher, prior, ValueRange.of(IMAGE), wanted, (1, 32, 32), chosen, index, generator(5, "set")
    )
    literal = literal_set(teacher, wanted, chosen, index, 5)
    moved = (literal - torch.randn(literal.shape, generator=generator(5, "set"))).abs().max().item()
    assert moved > 1e-3, "the samples must move for the comparison to mean anything"
    torch.testing.assert_close(samples.x, literal, rtol=1e-4, atol=1e-4 * max(1.0, moved))
    torch.testing.assert_close(samples.logits, teacher(samples.x))
    assert samples.round == index


def test_published_samples_start_normal_and_are_not_clamped() -> None:
    still = Published(steps=0)
    samples = diffuse_published(
        TEACHER, PRIOR, BOUNDS, draw_wanted(500, 4, 4, generator(0)), (5,), still, 0, generator(1)
    )
    assert samples.x.mean().item() == pytest.approx(0, abs=0.05)
    assert samples.x.std().item() == pytest.approx(1, abs=0.03)
    assert bool((samples.x < BOUNDS.low).any())
    assert samples.travelled.max() == 0


@pytest.mark.parametrize("index", [0, 3])
def test_langevin_noise_has_deviation_root_two_eps(index: int) -> None:
    lake = Published(sets=6, steps=1, w_class=0.0, w_contrast=0.0, w_prior=0.0, langevin=True)
    bounds, prior = ValueRange.of(IMAGE), ImagePrior(IMAGE, (1, 32, 32))
    wanted = torch.arange(10)[None]
    still = diffuse_published(
        lenet5(), prior, bounds, wanted, (1, 32, 32), dataclasses.replace(lake, steps=0), index, generator(0)
    )
    noisy = diffuse_published(lenet5(), prior, bounds, wanted, (1, 32, 32), lake, index, generator(0))
    step = noisy.x - still.x
    # 10,240 numbers: the deviation is known to 0.7%
    assert step.std().item() == pytest.approx(math.sqrt(2 * lake.step_of_set(index)), rel=0.03)
    assert step.mean().item() == pytest.approx(0, abs=0.05 * step.std().item())
    assert torch.corrcoef(torch.stack([step.flatten(), still.x.flatten()]))[0, 1].abs() < 0.05


def test_published_overflow_is_told_before_the_end() -> None:
    asked = 0

    def fragile(x: Tensor) -> Tensor:
        nonlocal asked
        asked += 1
        return TEACHER(x) * (math.nan if asked > 2 else 1)  # type: ignore[no-any-return]

    wanted = draw_wanted(2, 4, 4, generator(0))
    with pytest.raises(RunFailedError, match=r"nan at step 2.*--method rounds"):
        diffuse_published(fragile, PRIOR, BOUNDS, wanted, (5,), Published(), 0, generator(0))
    assert asked == 3
