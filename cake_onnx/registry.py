"""Named things: student families, and functions of a user's own."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Generic, ParamSpec, TypeVar

from cake_onnx.errors import CakeError, UsageError, with_its_kind

P = ParamSpec("P")
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


def own_function(name: str) -> Callable[..., object]:
    """A user's function, or class, called `package.module:function`.

    The folder in which the command runs is searched first.

    Raises:
        UsageError: There is none, or its module cannot be imported.
    """
    place, _, attribute = name.partition(":")
    _search_here()
    expected = f"a function {attribute} in module {place}"
    module = ask_own(expected, _module, place, expected)
    found = getattr(module, attribute, None)
    if not callable(found):
        there = f"no {attribute} there" if found is None else f"{attribute}, which cannot be called"
        raise UsageError(expected, there, "check the name")
    return found  # type: ignore[no-any-return]


def _module(place: str, expected: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        remedy = "run where it can be imported from, or install its package"
        raise UsageError(expected, str(error), remedy) from error


def file_of_own(name: str) -> Path | None:
    """The file in which a function `package.module:function` is written; None where there is none."""
    _search_here()
    place = name.partition(":")[0]
    try:
        found = find_spec(place) if place else None
    except ImportError:  # of a package around it
        return None
    return Path(found.origin) if found is not None and found.has_location and found.origin else None


def _search_here() -> None:
    if "" not in sys.path:
        sys.path.insert(0, "")


def ask_own(expected: str, function: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Call code of a user's own, whose mistakes are not bugs of ours.

    Args:
        expected: What the call is to give, as a noun phrase.
        function: What is called.
        given: Its arguments.
        named: Its arguments that have names.

    Raises:
        UsageError: It raised something, whatever that was; `-v` shows where.
    """
    try:
        return function(*given, **named)
    except CakeError:
        raise
    except Exception as error:
        raise UsageError(expected, with_its_kind(error), "mend it; `-v` shows where it failed") from error
