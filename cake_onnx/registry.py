"""Named things: student families, priors, whatever a user may choose by a word."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Generic, TypeVar

from cake_onnx.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """A dict from names to objects whose misses tell the user which names exist.

    Args:
        noun: What one entry is, for messages: `student family`.
        option: The option that names an entry, for messages: `--student`.
    """

    def __init__(self, noun: str, option: str) -> None:
        self.noun = noun
        self.option = option
        self._entries: dict[str, T] = {}

    def __repr__(self) -> str:
        return f"Registry({self.noun}: {', '.join(self._entries)})"

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files the object below it under `name` and returns it unchanged.

        Raises:
            ValueError: `name` is taken; two entries of one name are a programmer's slip.
        """

        def file(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.noun} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return file

    def names(self) -> tuple[str, ...]:
        """All names, in the order they were registered."""
        return tuple(self._entries)

    def get(self, name: str) -> T:
        """The entry called `name`.

        Raises:
            UsageError: There is none; the message lists the known names, nearest first.
        """
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=len(self._entries), cutoff=0.0)
        known = ", ".join(near)
        raise UsageError(f"a {self.noun} out of {known}", repr(name), f"choose {self.option} from {known}")
