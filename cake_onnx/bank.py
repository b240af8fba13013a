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


class Bank:
    """A store of at most `capacity` inputs; when it is full, newcomers take random places.

    Only inputs are kept: the teacher labels what the student really sees, so stored labels would be stale.

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
        self._x = torch.zeros(capacity, *shape, dtype=dtype, device=device)

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"Bank({self.count} of {self.capacity})"

    def add(self, x: Tensor, generator: torch.Generator) -> None:
        """Store `(B, *shape)`; B at most the capacity."""
        x = x.detach().to(self._x)
        free = min(self.capacity - self.count, len(x))
        self._x[self.count : self.count + free] = x[:free]
        self.count += free
        late = x[free:]
        if len(late):
            places = torch.randperm(self.capacity, generator=generator)[: len(late)]
            self._x[places.to(self._x.device)] = late

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
        """What must be saved to continue exactly: the stored samples `(count, *shape)`."""
        return {"x": self._x[: self.count]}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self.count = len(state["x"])
        self._x[: self.count] = state["x"]
