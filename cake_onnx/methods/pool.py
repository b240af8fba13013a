"""Samples of the prior, drawn so that the classes the teacher sees in few of them are not left out."""

from __future__ import annotations

import torch
from torch import Tensor

from cake_onnx.bank import Bank


class Pool:
    """A store of prior samples that knows their classes.

    A prior is not drawn with a teacher in mind: of pictures drawn by procedure, a digit classifier took 83%
    for an eight. A student taught on them as they come spends what it has on that class. So a class is drawn
    as if at least `1/K` of the pool were of it, as far as `repeat` allows.

    Args:
        bank: Where they wait.
        classes: K.
        repeat: How often a sample of a rare class may be drawn for one of a frequent class, at most, >= 1.
    """

    def __init__(self, bank: Bank, classes: int, repeat: float) -> None:
        self.bank, self.classes, self.repeat = bank, classes, repeat
        self._seen = torch.zeros(bank.capacity, dtype=torch.int64)
        self._weights = torch.ones(bank.capacity)

    def __len__(self) -> int:
        return len(self.bank)

    def __repr__(self) -> str:
        return f"Pool({len(self.bank)} of {self.bank.capacity}, {self.classes} classes)"

    def add(self, x: Tensor, logits: Tensor, generator: torch.Generator) -> None:
        """Store `(B, *shape)`, of which the teacher said `(B, K)`; the oldest places go at random."""
        self._seen[self.bank.add(x, generator)] = logits.argmax(1).cpu()
        self._weigh()

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """`(n, *shape)` float32 where the bank is, with repetition, classes evened out."""
        weights = self._weights[: len(self.bank)]
        return self.bank.take(torch.multinomial(weights, n, replacement=True, generator=generator))

    def state(self) -> dict[str, Tensor]:
        """What must be saved to continue exactly."""
        return self.bank.state() | {"classes": self._seen[: len(self.bank)]}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self.bank.restore({"x": state["x"]})
        self._seen[: len(self.bank)] = state["classes"]
        self._weigh()

    def _weigh(self) -> None:
        seen = self._seen[: len(self.bank)]
        share = torch.bincount(seen, minlength=self.classes).float() / len(seen)
        rarity = (
            share.clamp_min(1 / self.classes) / share
        )  # 1 for frequent classes; of absent ones none is asked
        self._weights[: len(seen)] = rarity.clamp_max(self.repeat)[seen]
