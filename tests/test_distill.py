from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cake_onnx.bank import Bank
from cake_onnx.devices import generator
from cake_onnx.distill import (
    Apprentice,
    Distillation,
    PublishedDistillation,
    apprentice_as_published,
    apprentice_for_rounds,
    compose_batch,
    learn_epoch,
    learn_round,
)
from cake_onnx.distill.apprentice import means
from cake_onnx.errors import RunFailedError
from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.losses import soft_label_loss
from cake_onnx.priors import UniformPrior, ValueRange

SPEC = InputSpec("x", (4,), "float32", "flat", Bounds((-1.1,), (3.3,), "test", False))
BOUNDS, PRIOR = ValueRange.of(SPEC), UniformPrior(SPEC)
CPU = torch.device("cpu")


def mlp(seed: int, hidden: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 3))


def teacher() -> nn.Module:
    net = mlp(0, 16)
    net[2].weight.data *= 4  # type: ignore[index]
    return net.requires_grad_(False)


def stored(x: Tensor) -> Bank:
    bank = Bank(len(x), (4,))
    bank.add(x, generator(0))
    return bank


def filled_bank(count: int = 400, dtype: torch.dtype = torch.float16) -> Bank:
    bank = Bank(1000, (4,), dtype)
    bank.add(PRIOR.draw(count, generator(0, "bank")), generator(0))
    return bank


def agreement(first: nn.Module, second: nn.Module) -> float:
    x = PRIOR.draw(2000, generator(0, "held out"))
    with torch.no_grad():
        return float((first(x).argmax(1) == second(x).argmax(1)).float().mean())


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# ---- batches ---------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**31))
def test_a_batch_is_of_its_size_and_inside_the_bounds(size: int, prior_share: float, seed: int) -> None:
    corner = BOUNDS.from_unit(torch.randint(2, (50, 4), generator=generator(seed)).float())
    chosen = Distillation(batch=size, prior_share=prior_share)
    x = compose_batch(stored(corner), stored(corner), PRIOR, chosen, generator(seed, "batch"))
    assert x.shape == (size, 4)
    assert bool(((x >= BOUNDS.low) & (x <= BOUNDS.high)).all())


class Marked(UniformPrior):
    """A prior that changes nothing, so that every sample shows where it came from."""

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x


def marked_batch(chosen: Distillation, bank: Bank) -> Tensor:
    pool = stored(torch.full((9, 4), 1.0))
    return compose_batch(bank, pool, Marked(SPEC), chosen, generator(0))[:, 0]


def test_shares_of_a_batch_are_as_set() -> None:
    bank = stored(torch.full((9, 4), 2.0))
    batch = marked_batch(Distillation(batch=200, prior_share=0.25), bank)
    assert int((batch == 1).sum()) == 50
    assert int((batch == 2).sum()) == 150


def test_before_the_first_round_a_batch_is_all_prior() -> None:
    assert bool((marked_batch(Distillation(batch=20), Bank(9, (4,))) == 1).all())


# ---- rounds ----------------------------------------------------------------------------------------------


def learn_rounds(rounds: int, seed: int = 0, chosen: Distillation | None = None) -> tuple[nn.Module, float]:
    chosen = chosen or Distillation(steps=30, batch=128, learning_rate=1e-2)
    student = mlp(7, 12)
    apprentice = apprentice_for_rounds(student, student, chosen)
    bank, pool, shown = filled_bank(), stored(PRIOR.draw(400, generator(0, "pool"))), 0.0
    for index in range(rounds):
        _, shown = learn_round(
            apprentice, teacher(), bank, pool, PRIOR, chosen, index / rounds, 1 / rounds,
            generator(seed, "round", index),
        )  # fmt: skip
    return student, shown


def test_a_student_learns_its_teacher() -> None:
    before = agreement(mlp(7, 12), teacher())
    student, shown = learn_rounds(8)
    assert before < 0.8
    assert agreement(student, teacher()) > 0.95
    assert shown == pytest.approx(agreement(student, teacher()), abs=0.05)


def test_same_seed_same_weights_other_seed_others() -> None:
    first, second, third = (learn_rounds(2, seed)[0].state_dict() for seed in (1, 1, 2))
    assert same(first, second)
    assert not same(first, third)


def test_the_rate_of_the_rounds_falls_to_zero_by_a_cosine() -> None:
    chosen = Distillation(steps=5, batch=8, learning_rate=0.1)
    student = mlp(0, 3)
    apprentice = apprentice_for_rounds(student, student, chosen)
    rates = []
    for index in range(4):
        learn_round(
            apprentice, teacher(), filled_bank(), stored(PRIOR.draw(20, generator(0))), PRIOR, chosen,
            index / 4, 1 / 4, generator(index),
        )  # fmt: skip
        rates.append(apprentice.optimiser.param_groups[0]["lr"])
    # the last step of each round: 4, 9, 14 and 19 twentieths of the way
    cosine = [0.05 * (1 + math.cos(math.pi * step / 20)) for step in (4, 9, 14, 19)]
    assert rates == pytest.approx(cosine)


def test_rates_in_units_of_the_weights_move_each_by_the_same_part() -> None:
    """AdamW's first step moves everything by its rate: here 1% of the root mean square, of 0.1 for biases."""
    student, x = mlp(1, 5), PRIOR.draw(50, generator(0))
    with torch.no_grad():
        next(student.parameters()).mul_(30)
        list(student.parameters())[2].mul_(1e-3)
    apprentice = apprentice_for_rounds(student, student, Distillation(relative=True, weight_decay=0.0))
    before = [weight.detach().clone() for weight in student.parameters()]
    with apprentice.training(seed=0):
        apprentice.learn(x, teacher()(x), 0.01)
    for weight, old in zip(student.parameters(), before, strict=True):
        size = 0.1 if old.dim() == 1 else max(1e-3, float(old.square().mean().sqrt()))
        assert float((weight.detach() - old).abs().max()) == pytest.approx(0.01 * size, rel=1e-2)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fused_steps_are_those_of_plain_adamw(layout: torch.memory_format) -> None:
    """Fused kernels read weight, gradient and moments as if they lay alike in memory."""
    student = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1), torch.nn.Flatten(),
        torch.nn.Linear(64, 3),
    )  # fmt: skip
    student = student.to(memory_format=layout)  # type: ignore[call-overload]
    literal, x = copy.deepcopy(student), torch.randn(20, 3, 6, 6, generator=generator(0))
    labels = torch.randn(20, 3, generator=generator(1))
    apprentice = apprentice_for_rounds(student, student, Distillation())
    optimiser = torch.optim.AdamW(literal.parameters(), lr=0.01, weight_decay=1e-4, foreach=False)
    for _ in range(5):
        apprentice.learn(x, labels, 0.01)
        optimiser.zero_grad()
        soft_label_loss(literal(x), labels, 1.0).mean().backward()
        optimiser.step()
    for ours, plain in zip(student.parameters(), literal.parameters(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-5)


def test_loss_and_agreement_are_those_before_the_step() -> None:
    student, x = mlp(1, 5), PRIOR.draw(50, generator(0))
    labels, before = teacher()(x), student(x).detach()
    apprentice = apprentice_for_rounds(student, student, Distillation())
    loss, shown = apprentice.learn(x, labels, 0.01, temperature=2.0)
    assert loss.item() == pytest.approx(soft_label_loss(before, labels, 2.0).mean().item())
    assert shown.item() == pytest.approx((before.argmax(1) == labels.argmax(1)).float().mean().item())
    assert not torch.equal(student(x), before)


def test_an_overflow_of_the_student_is_told() -> None:
    student = mlp(1, 5)
    apprentice = apprentice_for_rounds(student, student, Distillation())
    inputs = torch.zeros(2, 4), torch.full((2, 4), torch.nan)
    seen = [apprentice.learn(x, torch.zeros(2, 3), 0.1) for x in inputs]
    with pytest.raises(RunFailedError, match=r"finite loss while the student learns; found nan"):
        means(seen)


def test_batch_statistics_move_only_while_the_student_learns() -> None:
    """And dropout depends on the seed of the round alone."""
    norm = nn.BatchNorm1d(8)
    student = nn.Sequential(nn.Linear(4, 8), norm, nn.Dropout(0.5), nn.Linear(8, 3)).eval()
    apprentice = apprentice_for_rounds(student, student, Distillation())
    x = PRIOR.draw(50, generator(0))
    before, state = student(x), torch.random.get_rng_state()
    with apprentice.training(7):
        dropped = student(x)
    mean = norm.running_mean
    assert mean is not None
    assert not torch.equal(mean, torch.zeros(8))
    assert not torch.allclose(dropped, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    mean = mean.clone()
    student(x)
    assert torch.equal(norm.get_buffer("running_mean"), mean)
    with apprentice.training(7):
        assert torch.equal(student(x), dropped)


# ---- as published ----------------------------------------------------------------------------------------


def test_the_published_training_is_the_published_one() -> None:
    published = dataclasses.asdict(PublishedDistillation())
    assert published == {
        "epochs": 30, "batch": 128, "learning_rate": 0.1, "momentum": 0.9, "momentum_swing": 0.05,
        "weight_decay": 5e-4, "start_factor": 25.0, "end_factor": 1e4, "rising": 0.3,
    }  # fmt: skip
    net = mlp(0, 3)
    group = apprentice_as_published(net, net, PublishedDistillation()).optimiser.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 5e-4)
    assert not group["nesterov"]


def test_rate_and_momentum_are_torchs_one_cycle() -> None:
    steps, published = 2000, PublishedDistillation()
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    torchs = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=0.1, total_steps=steps + 1, div_factor=25, final_div_factor=1e4
    )
    for step in range(steps):
        group = optimiser.param_groups[0]
        # torch places the turn a fraction of a step earlier: 0.7 steps of at most 1/4 % of the height
        assert published.rate_at(step / steps) == pytest.approx(group["lr"], abs=0.1 * 2e-3)
        assert published.momentum_at(step / steps) == pytest.approx(group["momentum"], abs=0.1 * 2e-3)
        optimiser.step()
        torchs.step()


def test_rate_begins_turns_and_ends_where_it_should() -> None:
    published = PublishedDistillation()
    assert published.rate_at(0) == pytest.approx(0.1 / 25)
    assert published.rate_at(0.3) == pytest.approx(0.1)
    assert published.rate_at(1) == pytest.approx(0.1 / 25 / 1e4)
    assert [published.momentum_at(at) for at in (0, 0.3, 1)] == pytest.approx([0.95, 0.85, 0.95])


def test_an_epoch_as_published_is_plain_sgd_on_soft_labels() -> None:
    chosen = PublishedDistillation(epochs=2, batch=32)
    bank = filled_bank(100, torch.float32)
    x = bank.state()["x"]
    labels = teacher()(x)
    student, literal = mlp(7, 6), mlp(7, 6)
    apprentice = apprentice_as_published(student, student, chosen)
    optimiser = torch.optim.SGD(literal.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for epoch in range(2):
        learn_epoch(apprentice, bank, labels, chosen, epoch, CPU, generator(0, epoch))
        order = torch.randperm(100, generator=generator(0, epoch)).split(32)
        for step, index in enumerate(order):
            at = (epoch * 4 + step) / 8
            for group in optimiser.param_groups:
                group["lr"], group["momentum"] = chosen.rate_at(at), chosen.momentum_at(at)
            soft = torch.softmax(labels[index], 1)
            loss = -(soft * torch.log_softmax(literal(x[index]), 1)).sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    for ours, theirs in zip(student.parameters(), literal.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


# ---- checkpoints -----------------------------------------------------------------------------------------


def grown(apprentice: Apprentice, steps: int) -> None:
    for step in range(steps):
        x = PRIOR.draw(16, generator(step))
        apprentice.learn(x, teacher()(x), 0.05)


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("steps", [0, 3])
def test_a_restored_apprentice_continues_exactly(as_published: bool, steps: int) -> None:
    def new(seed: int) -> Apprentice:
        net = mlp(seed, 6)
        if as_published:
            return apprentice_as_published(net, net, PublishedDistillation())
        return apprentice_for_rounds(net, net, Distillation())

    first, second = new(1), new(2)
    grown(first, steps)
    second.restore({name: value.clone() for name, value in first.state().items()})
    grown(first, 3)
    grown(second, 3)
    assert same(first.state(), second.state())


def test_a_checkpoint_holds_tensors_only() -> None:
    net = mlp(0, 6)
    apprentice = apprentice_for_rounds(net, net, Distillation())
    grown(apprentice, 2)
    state = apprentice.state()
    assert {name.split(".")[0] for name in state} == {"student", "optimiser"}
    assert all(isinstance(value, Tensor) for value in state.values())
