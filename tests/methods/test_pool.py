"""The pool of prior samples, in which classes are evened out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cake_onnx.bank import Bank
from cake_onnx.methods.pool import Pool


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pool_of(counts: list[int], repeat: float, capacity: int | None = None) -> Pool:
    """A pool with `counts` samples of each class, whose single number is their class."""
    classes = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    pool = Pool(Bank(capacity or len(classes), (1,)), len(counts), repeat)
    pool.add(classes[:, None].float(), F.one_hot(classes, len(counts)).float(), generator(0))
    return pool


def shares(pool: Pool, drawn: int = 40_000) -> Tensor:
    seen = pool.draw(drawn, generator(1)).long().flatten()
    return torch.bincount(seen, minlength=pool.classes) / drawn


def test_a_rare_class_is_drawn_as_if_it_had_its_part() -> None:
    # 10 of 500 are lifted to a quarter of 500; the others keep their weight.
    found = shares(pool_of([300, 100, 90, 10], 1e6))
    assert found.tolist() == pytest.approx([300 / 675, 125 / 675, 125 / 675, 125 / 675], abs=0.01)


def test_no_sample_is_drawn_more_often_than_allowed() -> None:
    found = shares(pool_of([996, 4], 20))
    assert found[1] == pytest.approx(4 * 20 / (996 + 4 * 20), abs=0.005)


@pytest.mark.parametrize("counts", [[50, 50, 50], [0, 120, 0], [1, 1, 1]])
def test_what_is_even_or_absent_stays_so(counts: list[int]) -> None:
    expected = torch.tensor(counts) / sum(counts)
    assert shares(pool_of(counts, 20)).tolist() == pytest.approx(expected.tolist(), abs=0.01)


def test_without_repetition_it_is_as_the_prior_draws() -> None:
    assert shares(pool_of([90, 10], 1)).tolist() == pytest.approx([0.9, 0.1], abs=0.01)


def test_newcomers_bring_their_class_to_the_place_they_take() -> None:
    pool = pool_of([90, 10], 20)
    for seed in range(40):  # until none of the first is left
        pool.add(torch.full((10, 1), 1.0), torch.tensor([[0.0, 1.0]]).expand(10, 2), generator(seed))
    state = pool.state()
    assert torch.equal(state["classes"], state["x"].flatten().long())
    assert len(pool) == 100


def test_a_restored_pool_draws_the_same() -> None:
    pool = pool_of([90, 8, 2], 20, capacity=150)
    other = Pool(Bank(150, (1,)), 3, 20)
    other.restore({name: value.clone() for name, value in pool.state().items()})
    assert torch.equal(other.draw(50, generator(2)), pool.draw(50, generator(2)))
