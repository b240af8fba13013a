"""The errors a user can meet. The class decides the exit code (`cake_onnx.cli` is the only reader of it)."""

from __future__ import annotations

from typing import ClassVar


class CakeError(Exception):
    """Something a user can act on.

    Args:
        expected: What the program needed, as a noun phrase.
        found: What it met instead.
        remedy: What to do next, as an imperative sentence without the final stop.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, expected: str, found: str, remedy: str) -> None:
        self.expected = expected
        self.found = found
        self.remedy = remedy
        super().__init__(f"expected {expected}; found {found}. {remedy[:1].upper()}{remedy[1:]}.")


class UsageError(CakeError):
    """An option, a configuration file or an output folder cannot be used as given."""

    exit_code = 2


class UnsupportedTeacherError(CakeError):
    """The file is not a classifier that can be distilled."""

    exit_code = 3


class RunFailedError(CakeError):
    """The run began and could not end: numbers overflowed, a disk was full, a check missed."""

    exit_code = 4


def first_line(error: BaseException) -> str:
    """What an error of somebody else says first, or its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def with_its_kind(error: BaseException) -> str:
    """The same behind the class of the error, which says what a message such as `'width'` does not."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"
