"""Writing so that a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cake_onnx.errors import RunFailedError, UsageError


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, in whose place a reader sees the old content until the block has ended well.

    Raises:
        RunFailedError: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RunFailedError(
            f"to write {path}",
            error.strerror or str(error),
            "free some space or choose another folder with `-o`",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    Raises:
        RunFailedError: The disk is full or the folder cannot be written.
    """
    with writing(path) as file:
        file.write(data)


def require_writable(folder: Path) -> None:
    """Check that files can be made in a folder, or that the folder can be made, without making it.

    Raises:
        UsageError: They cannot.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        found = "no permission to write" if nearest.is_dir() else "a file"
        raise UsageError("a place that can be written for `-o`", f"{found} at {nearest}", "choose another")
