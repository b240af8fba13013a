"""Indices of axes that must be kept or dropped together.

Every index of an axis that may lose channels is an *item*. Items that an operator ties together (an addition
its operands, a convolution its weight and input) are united. Where an axis is split in two by a reshape, or
two are flattened into one, an index of the long axis is *composed* of one item of each short axis: it stays
as long as all of them stay. So whole attention heads and positions within heads can be dropped alike, and
what is left is always a full rectangle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Label = npt.NDArray[np.int64]
"""Items along one axis, one an index."""


class Items:
    """A union-find forest whose roots may be frozen or composed of other items."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._frozen: dict[int, str] = {}
        self._parts: dict[int, tuple[int, ...]] = {}
        self._composed: dict[tuple[int, ...], int] = {}

    def new(self, count: int) -> Label:
        """Items for a fresh axis of `count` indices."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def find(self, item: int) -> int:
        """The item that speaks for all united with it."""
        root = item
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[item] != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def compose(self, parts: Sequence[int]) -> int:
        """The item that stays exactly as long as every one of `parts` stays."""
        simple = tuple(dict.fromkeys(root for part in parts for root in self.roots(part)))
        if len(simple) == 1:
            return simple[0]
        if simple not in self._composed:
            item = int(self.new(1)[0])
            self._parts[item] = simple
            self._composed[simple] = item
        return self._composed[simple]

    def roots(self, item: int) -> tuple[int, ...]:
        """The simple items that one item stands and falls with."""
        root = self.find(item)
        if root not in self._parts:
            return (root,)
        return tuple(dict.fromkeys(simple for part in self._parts[root] for simple in self.roots(part)))

    def unite(self, first: int, second: int) -> None:
        """Keep or drop two items together from now on; where that has no simple form, keep both."""
        a, b = self.find(first), self.find(second)
        if a == b:
            return
        if a in self._parts and b in self._parts:
            self._unite_parts(a, b)
        elif a in self._parts:
            self._replace(b, a)
        else:
            self._replace(a, b)

    def unite_all(self, first: Label, second: Label) -> None:
        """Unite two axes index by index."""
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            self.unite(a, b)

    def freeze(self, items: Label | Sequence[int], why: str) -> None:
        """Keep items for good; the first reason given is remembered."""
        for item in dict.fromkeys(int(entry) for entry in items):
            for root in self.roots(item):
                self._frozen.setdefault(root, why)

    def is_frozen(self, item: int) -> bool:
        """Whether none of what the item stands and falls with may be dropped."""
        return all(root in self._frozen for root in self.roots(item))

    def reason(self, item: int) -> str | None:
        """Why an item is kept for good."""
        return next((self._frozen[root] for root in self.roots(item) if root in self._frozen), None)

    def is_kept(self, item: int, dropped: Callable[[int], bool]) -> bool:
        """Whether an index stays when `dropped` tells which simple items go."""
        return not any(dropped(root) for root in self.roots(item))

    def _unite_parts(self, a: int, b: int) -> None:
        first, second = self.roots(a), self.roots(b)
        if len(first) == len(second):
            for x, y in zip(first, second, strict=True):
                self.unite(x, y)
        else:
            self.freeze((a, b), "axes that are split in different ways")

    def _replace(self, simple: int, other: int) -> None:
        """Let a simple item stand for another one."""
        if simple in self.roots(other):
            # It would be a part of itself: both stay.
            self.freeze((other,), "an axis that is tied to a part of itself")
            return
        if simple in self._frozen:
            self.freeze((other,), self._frozen[simple])
        self._parent[simple] = other
