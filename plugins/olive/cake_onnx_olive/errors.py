"""Errors as Olive 0.13 needs them: only a few classes end a run there, `ValueError` among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from cake_onnx.errors import CakeError, RunFailedError
from cake_onnx_olive.names import as_parameters


class DistillationError(ValueError):
    """Something of ours that failed, with the exit code that `cake-onnx` gives to it.

    Olive goes on after a `RuntimeError`, an `OSError` or a `MemoryError` and exits with 0 and no model; torch
    raises the first when a device is out of memory. `ValueError` ends the run.
    """

    exit_code: int = RunFailedError.exit_code

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        if exit_code is not None:
            self.exit_code = exit_code


class GateError(DistillationError):
    """The model was made, and is not as alike as it had to be."""

    exit_code: ClassVar[int] = 1  # type: ignore[misc]  # fixed here, free in the base


@contextmanager
def ending_the_run() -> Iterator[None]:
    """Turn whatever fails inside into an error that Olive does not swallow; the cause stays attached.

    Raises:
        DistillationError: Something failed. A `CakeError` keeps its text and exit code, with the names of
            flags replaced by those of parameters.
    """
    try:
        yield
    except DistillationError:
        raise
    except CakeError as error:
        raise DistillationError(as_parameters(str(error)), error.exit_code) from error
    except Exception as error:  # every class that is not named in Olive's own list would end with exit code 0
        raise DistillationError(f"distillation failed with {type(error).__name__}: {error}") from error
