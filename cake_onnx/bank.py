"""Samples, and the bounded store in which they wait to be seen again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Synthetic inputs and what the teacher said of them.

    Attributes:
        x: `(B, *shape)` float32 in the teacher's input units.
        logits: Teacher logits `(B, K)`.
        wanted: Class each sample was pushed to `(B,)`, int64.
        travelled: Root mean square distance from the start point, as a fraction of the input range, `(B,)`.
        round: Index of the round (or set) they come from.
    """

    x: Tensor
    logits: Tensor
    wanted: Tensor
    travelled: Tensor
    round: int

    def __len__(self) -> int:
        return self.x.shape[0]


def storage_type(low: Tensor, high: Tensor) -> torch.dtype:
    """What to store values between `low` and `high` in: float16, if it tells 256 steps of every range apart.

    Args:
        low: Lowest values, any shape.
        high: Highest values, the same shape.

    Returns:
        float16 or, for ranges far from zero, tiny or beyond its largest number, float32.
    """
    largest = torch.maximum(low.abs(), high.abs())
    limits = torch.finfo(torch.float16)
    step = (largest * limits.eps).clamp_min(limits.smallest_normal * limits.eps)
    enough = (largest <= limits.max) & (high - low >= 256 * step)
    return torch.float16 if bool(enough.all()) else torch.float32


def in_turn(classes: Tensor, order: Tensor) -> Tensor:
    """Order samples so that first one of every class comes, then another of every class, and so on.

    Args:
        classes: Of the samples `(B,)`, int64.
        order: Indices of all samples `(B,)`, the order of those of one class.

    Returns:
        Indices `(B,)`.
    """
    by_class = order[classes[order].argsort(stable=True)]
    counts = torch.bincount(classes)
    before = counts.cumsum(0) - counts
    rank = torch.empty_like(by_class)
    rank[by_class] = torch.arange(len(by_class)) - before[classes[by_class]]
    return order[rank[order].argsort(stable=True)]


class Bank:
    """A store of at most `capacity` inputs; when it is full, newcomers take random places.

    No logits are kept: the teacher labels what the student really sees, so stored ones would be stale.

    Args:
        capacity: Most samples held.
        shape: One input without batch.
        dtype: Storage type; float16 keeps 11 bits, more than an 8-bit picture has (see `storage_type`).
        device: Where samples wait; beside the networks they need not travel at every step.
    """

    def __init__(
        self,
        capacity: int,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float16,
        device: torch.device | str = "cpu",
    ) -> None:
        self.capacity = capacity
        self.count = 0
        self._classes = torch.zeros(capacity, dtype=torch.int64)
        self._x = torch.zeros(capacity, *shape, dtype=dtype, device=device)

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"Bank({self.count} of {self.capacity})"

    def add(self, x: Tensor, generator: torch.Generator, classes: Tensor | None = None) -> None:
        """Store samples.

        Args:
            x: `(B, *shape)`; B at most the capacity, unless classes are given.
            generator: Of who makes room in a full bank.
            classes: Of the samples, `(B,)`, given always or never. With them the commonest classes make room,
                so that all become alike as far as there are any, and within a class newcomers stay.
        """
        x = x.detach().to(self._x)
        free = min(self.capacity - self.count, len(x))
        seen = torch.zeros(len(x), dtype=torch.int64) if classes is None else classes
        self._put(torch.arange(self.count, self.count + free), x[:free], seen[:free])
        self.count += free
        x, seen = x[free:], seen[free:]
        if not len(x):
            return
        if classes is None:
            places = torch.randperm(self.capacity, generator=generator)[: len(x)]
        else:
            places, come = self._exchange(seen, generator)
            x, seen = x[come.to(x.device)], seen[come]
        self._put(places, x, seen)

    def _put(self, places: Tensor, x: Tensor, classes: Tensor) -> None:
        self._x[places.to(self._x.device)] = x
        self._classes[places] = classes

    def _exchange(self, classes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Places of a full bank that newcomers of these classes take, and those of them that do."""
        new = len(classes)
        order = torch.cat([torch.arange(new), new + torch.randperm(self.capacity, generator=generator)])
        stay = torch.zeros(new + self.capacity, dtype=torch.bool)
        stay[in_turn(torch.cat([classes, self._classes]), order)[: self.capacity]] = True
        return (~stay[new:]).nonzero()[:, 0], stay[:new].nonzero()[:, 0]

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """`(n, *shape)` float32 where the bank is, with repetition, each sample as likely as any other.

        Raises:
            ValueError: The bank is empty.
        """
        if not self.count:
            raise ValueError("the bank is empty: nothing can be drawn before the first round")
        picked = torch.randint(self.count, (n,), generator=generator)
        return self._x[picked.to(self._x.device)].float()

    def state(self) -> dict[str, Tensor]:
        """What must be saved to continue exactly: the stored samples `(count, *shape)` and their classes."""
        return {"x": self._x[: self.count], "classes": self._classes[: self.count]}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave; classes may lack, where none were given."""
        self.count = len(state["x"])
        self._x[: self.count] = state["x"]
        self._classes[: self.count] = state.get("classes", torch.tensor(0))
