from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cake_onnx.bank import Bank, Samples, in_turn, storage_type


def new(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(first: int, count: int) -> Tensor:
    """Samples that carry their number."""
    return torch.arange(first, first + count).float()[:, None].expand(count, 2).contiguous()


def numbers(bank: Bank) -> list[int]:
    return [int(value) for value in bank.state()["x"][:, 0]]


@given(st.integers(1, 12), st.lists(st.integers(0, 12), max_size=6))
def test_never_more_than_the_capacity(capacity: int, batches: list[int]) -> None:
    bank, generator, added = Bank(capacity, (2,)), new(), 0
    for batch in (min(size, capacity) for size in batches):
        bank.add(rows(added, batch), generator)
        added += batch
        assert len(bank) == min(added, capacity)
        assert len(set(numbers(bank))) == len(bank), "no sample is held twice"
        assert set(numbers(bank)) <= set(range(added))
        assert batch == 0 or added - 1 in numbers(bank), "the last of a batch is kept"


def test_newcomers_take_random_places() -> None:
    seen: set[int] = set()
    for seed in range(20):
        bank = Bank(10, (2,))
        bank.add(rows(0, 10), new(seed))
        bank.add(rows(100, 3), new(seed))
        kept = numbers(bank)
        assert sum(number >= 100 for number in kept) == 3
        assert sum(number < 100 for number in kept) == 7
        seen |= {place for place, number in enumerate(kept) if number >= 100}
    assert seen == set(range(10))


def test_every_sample_is_drawn_as_often_as_any_other() -> None:
    bank = Bank(20, (2,))
    bank.add(rows(0, 8), new())
    counts = torch.bincount(bank.draw(8000, new())[:, 0].long(), minlength=20)
    assert int(counts[8:].sum()) == 0, "empty places are never drawn"
    # 1000 expected, deviation 30: five deviations
    assert bool(((counts[:8] - 1000).abs() < 150).all())


def test_draw_is_float32_and_follows_the_generator() -> None:
    bank = Bank(5, (2, 3))
    bank.add(torch.rand(5, 2, 3, generator=new()), new())
    first = bank.draw(7, new(3))
    assert first.shape == (7, 2, 3)
    assert first.dtype == torch.float32
    assert torch.equal(first, bank.draw(7, new(3)))
    assert not torch.equal(first, bank.draw(7, new(4)))


def test_an_empty_bank_says_so() -> None:
    with pytest.raises(ValueError, match="bank is empty"):
        Bank(3, (2,)).draw(1, new())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("classes", [None, torch.tensor([0, 1, 0, 2])])
def test_restored_bank_continues_exactly(dtype: torch.dtype, classes: Tensor | None) -> None:
    bank, twin = Bank(6, (2,), dtype), Bank(6, (2,), dtype)
    bank.add(torch.randn(5, 2, generator=new()), new(), None if classes is None else torch.arange(5) % 3)
    twin.restore({name: value.clone() for name, value in bank.state().items()})
    for continued in (bank, twin):
        continued.add(torch.ones(4, 2), new(2), classes)
    assert torch.equal(bank.state()["x"], twin.state()["x"])
    assert torch.equal(bank.state()["classes"], twin.state()["classes"])
    assert torch.equal(bank.draw(9, new(1)), twin.draw(9, new(1)))


def test_one_of_every_class_comes_in_turn() -> None:
    classes = torch.tensor([0, 0, 3, 0, 1, 3])
    assert in_turn(classes, torch.tensor([3, 5, 0, 1, 2, 4])).tolist() == [3, 5, 4, 0, 2, 1]


@given(st.integers(1, 12), st.lists(st.lists(st.integers(0, 3), max_size=20), max_size=6))
def test_with_classes_the_commonest_make_room(capacity: int, batches: list[list[int]]) -> None:
    bank, generator, there = Bank(capacity, (2,)), new(), torch.zeros(4, dtype=torch.int64)
    for batch in batches:
        classes = torch.tensor(batch, dtype=torch.int64)
        bank.add(classes[:, None].expand(-1, 2).float(), generator, classes)
        held, there = torch.tensor(numbers(bank)), there + torch.bincount(classes, minlength=4)
        assert held.tolist() == bank.state()["classes"].tolist()
        assert len(bank) == min(capacity, int(there.sum()))
        counts = torch.bincount(held.long(), minlength=4)
        full = counts[counts < there]
        assert bool((counts.max() - full <= 1).all()), "who has lost some has no fewer than any other"
        there = torch.minimum(there, counts)


def test_within_a_class_newcomers_stay_and_others_make_room_at_random() -> None:
    left: set[int] = set()
    for seed in range(20):
        bank = Bank(4, (2,))
        bank.add(rows(0, 4), new(seed), torch.tensor([0, 0, 0, 1]))
        bank.add(rows(10, 2), new(seed), torch.tensor([0, 0]))
        kept = set(numbers(bank))
        assert {3, 10, 11} < kept
        left |= kept - {3, 10, 11}
    assert left == {0, 1, 2}


@pytest.mark.parametrize(
    ("low", "high", "half"),
    [
        ([0.0], [1.0], True),
        ([0.0], [255.0], True),
        ([-2.1, -2.0], [2.6, 2.4], True),
        ([0.0, 1000.0], [1.0, 1001.0], False),  # float16 knows three numbers there
        ([0.0], [1e5], False),  # beyond its largest
        ([0.0], [1e-6], False),  # below its smallest steps
        ([-1e-6], [1.0], True),
    ],
)
def test_half_precision_is_taken_only_where_it_resolves_the_range(
    low: list[float], high: list[float], half: bool
) -> None:
    chosen = storage_type(torch.tensor(low), torch.tensor(high))
    assert chosen == (torch.float16 if half else torch.float32)
    bank = Bank(1000, (len(low),), chosen)
    steps = torch.linspace(0, 1, 256)[:, None]
    bank.add(torch.tensor(low) + steps * (torch.tensor(high) - torch.tensor(low)), new())
    assert all(len(column.unique()) == 256 for column in bank.state()["x"].T)


def test_samples_know_how_many_they_are() -> None:
    samples = Samples(torch.zeros(4, 2), torch.zeros(4, 3), torch.zeros(4), torch.zeros(4), 0)
    assert len(samples) == 4
