from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cake_onnx.losses import (
    class_loss,
    class_slope,
    contrast_pull,
    contrast_slope,
    disagreement,
    disagreement_slope,
    margin,
    pairwise_contrast,
    published_objective,
    soft_label_loss,
    total_variation,
)

seeds = st.integers(0, 2**31)
sizes = st.integers(1, 6)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(2, 7))


def draw(seed: int, *shape: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def all_pairs(logits: Tensor) -> Tensor:
    """The double loop over pairs, as the paper writes the sum."""
    count, group, _ = logits.shape
    return torch.stack(
        [
            torch.stack(
                [(logits[n, i] - logits[n, j]).square().sum() for i in range(group) for j in range(group)]
            ).sum()
            for n in range(count)
        ]
    )


@given(shapes, seeds)
def test_pairwise_contrast_is_the_sum_over_pairs(shape: tuple[int, int, int], seed: int) -> None:
    logits = draw(seed, *shape)
    torch.testing.assert_close(pairwise_contrast(logits), all_pairs(logits))


@given(shapes, seeds, st.floats(-1e6, 1e6))
def test_pairwise_contrast_bears_large_offsets(shape: tuple[int, int, int], seed: int, offset: float) -> None:
    # The expanded square of the textbook cancels here; float32 leaves about offset * 1e-7 in a difference.
    logits = (draw(seed, *shape) + offset).float()
    exact = all_pairs(logits.double())
    slack = 1e-6 * abs(offset) * shape[1] ** 2 * shape[2] * 40 + 1e-4
    torch.testing.assert_close(pairwise_contrast(logits).double(), exact, rtol=1e-4, atol=slack)


def test_the_expanded_square_would_not_bear_them() -> None:
    logits = (draw(0, 1, 5, 3) + 1e4).float()
    expanded = 10 * logits.square().sum((1, 2)) - 2 * logits.sum(1).square().sum(1)
    exact = all_pairs(logits.double())
    assert (expanded.double() - exact).abs().item() > 100 * (pairwise_contrast(logits) - exact).abs().item()


@given(shapes, seeds, st.floats(0.1, 10))
def test_contrast_pull_is_the_share_of_each_sample(
    shape: tuple[int, int, int], seed: int, spread: float
) -> None:
    count, group, classes = shape
    logits, unit = draw(seed, *shape), torch.tensor(spread, dtype=torch.float64)
    pull = contrast_pull(logits, unit)
    assert pull.shape == (count * group,)
    whole = pull.view(count, group).sum(1) * classes * spread**2 * 2 * group
    torch.testing.assert_close(whole, pairwise_contrast(logits))


def test_contrast_pulls_each_sample_to_the_mean_of_its_group() -> None:
    logits = draw(1, 2, 4, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(contrast_pull(logits, torch.tensor(1.0)).sum(), logits)
    torch.testing.assert_close(gradient, (2 / 3 * (logits - logits.mean(1, keepdim=True))).detach())


@given(shapes, seeds, st.floats(0.1, 10))
def test_slopes_are_the_derivatives_of_the_losses(
    shape: tuple[int, int, int], seed: int, spread: float
) -> None:
    count, group, classes = shape
    logits = draw(seed, count * group, classes).requires_grad_()
    student = draw(seed + 1, count * group, classes).requires_grad_()
    wanted, unit = torch.arange(len(logits)) % classes, torch.tensor(spread, dtype=torch.float64)

    def slope(loss: Tensor, of: Tensor) -> Tensor:
        return torch.autograd.grad(loss.sum(), of)[0]

    grouped = logits.view(shape)
    gap = disagreement_slope(logits.detach(), student.detach(), unit)
    torch.testing.assert_close(
        class_slope(logits.detach(), wanted), slope(class_loss(logits, wanted), logits)
    )
    torch.testing.assert_close(
        contrast_slope(grouped.detach(), unit), slope(contrast_pull(grouped, unit), logits)
    )
    torch.testing.assert_close(gap, slope(disagreement(logits, student, unit), logits))
    torch.testing.assert_close(-gap, slope(disagreement(logits, student, unit), student))


@given(sizes, st.integers(2, 6), seeds, st.floats(0, 50))
def test_class_loss_is_not_negative_and_per_sample(b: int, k: int, seed: int, scale: float) -> None:
    logits, wanted = draw(seed, b, k, scale=scale), torch.arange(b) % k
    loss = class_loss(logits, wanted)
    assert loss.shape == (b,)
    assert bool((loss >= 0).all())
    torch.testing.assert_close(loss[:1], class_loss(logits[:1], wanted[:1]))


def test_class_loss_of_known_odds() -> None:
    logits = torch.tensor([[0.9, 0.1]]).log()
    torch.testing.assert_close(class_loss(logits, torch.tensor([1])), torch.tensor([0.1]).log().neg())


def slow_variation(image: Tensor) -> float:
    channels, height, width = image.shape
    down = [
        abs(float(image[c, i + 1, j] - image[c, i, j]))
        for c in range(channels)
        for i in range(height - 1)
        for j in range(width)
    ]
    across = [
        abs(float(image[c, i, j + 1] - image[c, i, j]))
        for c in range(channels)
        for i in range(height)
        for j in range(width - 1)
    ]
    return sum(sum(part) / len(part) if part else 0.0 for part in (down, across))


@given(sizes, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), seeds)
def test_total_variation_is_the_loop_over_neighbours(b: int, c: int, h: int, w: int, seed: int) -> None:
    images = draw(seed, b, c, h, w)
    wanted = torch.tensor([slow_variation(image) for image in images], dtype=torch.float64)
    torch.testing.assert_close(total_variation(images), wanted)


@given(st.floats(-1e3, 1e3), st.integers(1, 5), st.integers(1, 5))
def test_total_variation_of_constant_images_is_zero(value: float, h: int, w: int) -> None:
    assert total_variation(torch.full((2, 3, h, w), value)).tolist() == [0, 0]


@given(sizes, st.integers(2, 6), seeds, st.floats(-20, 20), st.floats(0.5, 5))
def test_soft_label_loss_is_zero_for_logits_equal_up_to_a_constant(
    b: int, k: int, seed: int, offset: float, temperature: float
) -> None:
    logits = draw(seed, b, k)
    loss = soft_label_loss(logits + offset, logits, temperature)
    torch.testing.assert_close(loss, torch.zeros(b, dtype=torch.float64))


@given(sizes, st.integers(2, 6), seeds, st.floats(0.5, 5))
def test_soft_label_loss_is_positive_for_other_logits(b: int, k: int, seed: int, temperature: float) -> None:
    logits = draw(seed, b, k, scale=0.5)  # mild, so that no class has a probability of nothing
    other = logits.clone()
    other[:, 0] += 0.5
    assert bool((soft_label_loss(other, logits, temperature) > 1e-9).all())


def test_soft_label_loss_by_hand_and_without_gradient_to_the_teacher() -> None:
    teacher = torch.tensor([[0.8, 0.2]]).log().requires_grad_()
    student = torch.tensor([[0.5, 0.5]]).log().requires_grad_()
    loss = soft_label_loss(student, teacher)
    by_hand = 0.8 * torch.tensor(0.8 / 0.5).log() + 0.2 * torch.tensor(0.2 / 0.5).log()
    torch.testing.assert_close(loss, by_hand[None])
    loss.sum().backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_soft_label_gradient_keeps_its_size_over_temperatures() -> None:
    student = torch.tensor([[0.01, -0.01]], dtype=torch.float64)
    sizes_of = []
    for temperature in (1.0, 8.0):
        moving = student.clone().requires_grad_()
        soft_label_loss(moving, torch.zeros(1, 2), temperature).sum().backward()
        assert moving.grad is not None
        sizes_of.append(moving.grad.abs().sum().item())
    assert sizes_of[0] == pytest.approx(sizes_of[1], rel=1e-3)


@given(sizes, st.integers(2, 6), seeds)
def test_disagreement_does_not_see_constants(b: int, k: int, seed: int) -> None:
    teacher, student, spread = draw(seed, b, k), draw(seed + 1, b, k), torch.tensor(2.0)
    offset = draw(seed + 2, b, 1, scale=50)
    plain = disagreement(teacher, student, spread)
    torch.testing.assert_close(disagreement(teacher + offset, student, spread), plain)
    torch.testing.assert_close(disagreement(teacher, student - offset, spread), plain)
    torch.testing.assert_close(disagreement(teacher, teacher + offset, spread), torch.zeros_like(plain))
    assert bool((plain >= 0).all())


def test_disagreement_is_in_units_of_the_spread() -> None:
    teacher, student = torch.tensor([[3.0, -3.0]]), torch.tensor([[0.0, 0.0]])
    assert disagreement(teacher, student, torch.tensor(1.5)).item() == pytest.approx(2.0)


@given(shapes, seeds, st.floats(0, 1e3), st.floats(0, 10), st.floats(0, 1e3))
def test_published_objective_is_the_formula_written_out(
    shape: tuple[int, int, int], seed: int, w_class: float, w_contrast: float, w_prior: float
) -> None:
    count, group, classes = shape
    logits = draw(seed, *shape)
    wanted = torch.randint(classes, (count, group), generator=torch.Generator().manual_seed(seed))
    images = draw(seed + 1, count * group, 1, 3, 4)
    chosen = [
        -float(torch.log_softmax(logits[n, i], 0)[wanted[n, i]]) for n in range(count) for i in range(group)
    ]
    difference = logits[:, :, None, :] - logits[:, None, :, :]
    assert difference.shape == (count, group, group, classes)
    literal = (
        w_class * group * sum(chosen) / len(chosen)
        + w_contrast * 0.5 * group**2 * float(difference.square().mean())
        + w_prior * float(torch.stack([total_variation(image[None]) for image in images]).mean())
    )
    objective = published_objective(logits, wanted, total_variation(images), w_class, w_contrast, w_prior)
    assert objective.shape == ()
    assert objective.item() == pytest.approx(literal, rel=1e-9, abs=1e-9)


def test_margin_is_zero_where_two_classes_tie() -> None:
    assert margin(torch.tensor([[1.0, 4.0, 4.0], [1.0, 5.0, 3.0]])).tolist() == [0, 2]
