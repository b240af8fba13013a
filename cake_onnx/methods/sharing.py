"""One state for all ranks: the first rank keeps it, and hands everybody their part when the run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from cake_onnx.methods.training import Checkpoints
from cake_onnx.ranks import Ranks

_OWN = ("bank.", "pool.")
"""Tensors of these names differ between ranks; all others are those of the first."""


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as bytes that `safetensors.torch.load` reads, wherever and however they lie."""
    return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


class SharedCheckpoints:
    """Checkpoints of several ranks in one place; every rank must call the same methods in the same order.

    Args:
        place: Where the first rank keeps the state; what the others give does not matter.
        ranks: All of them.
    """

    def __init__(self, place: Checkpoints, ranks: Ranks) -> None:
        self._place = place
        self._ranks = ranks

    def due(self) -> bool:
        """Whether it is time to save again, by the clock of the first rank."""
        return bool(self._ranks.from_first(b"due" if self._ranks.first and self._place.due() else b""))

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Keep the state of all ranks; replaces the one before."""
        own = {name: value for name, value in tensors.items() if name.startswith(_OWN)}
        parts = self._ranks.to_first(pack(own) if self._ranks.count > 1 else b"")
        others = {
            f"rank{rank}.{name}": value
            for rank, part in enumerate(parts[1:], start=1)
            for name, value in load(part).items()
        }
        if self._ranks.first:
            self._place.save(tensors | others, facts)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last state as this rank left it, or None at the start of a run."""
        found = self._place.load() if self._ranks.first else None
        if self._ranks.count == 1 or not self._ranks.from_first(b"found" if found else b""):
            return found
        tensors, facts = found or ({}, {})
        facts = json.loads(self._ranks.from_first(json.dumps(facts).encode()))
        shared = {name: value for name, value in tensors.items() if not name.startswith(("rank", *_OWN))}
        shared = load(self._ranks.from_first(pack(shared)))
        own = load(self._ranks.scatter([pack(self._part(tensors, r)) for r in range(self._ranks.count)]))
        return shared | own, facts

    def _part(self, tensors: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
        prefix = f"rank{rank}." if rank else ""
        names = [name for name in tensors if name.startswith(tuple(prefix + own for own in _OWN))]
        return {name.removeprefix(prefix): tensors[name] for name in names}
