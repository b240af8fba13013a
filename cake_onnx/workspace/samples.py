"""Samples as a file that other tools read."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from cake_onnx.bank import Samples
from cake_onnx.workspace.writing import writing

_KINDS = {"float32": "F32", "int64": "I64"}
"""Names of element types in a safetensors file."""


@dataclass
class _Array:
    """An array that grows on disk.

    Attributes:
        bytes: Its numbers so far.
        count: Rows so far.
        row: Shape of one.
        kind: Element type.
    """

    bytes: IO[Any]
    count: int = 0
    row: tuple[int, ...] = ()
    kind: np.dtype[Any] = field(default_factory=lambda: np.dtype("float32"))

    def append(self, rows: npt.NDArray[Any]) -> None:
        self.bytes.write(np.ascontiguousarray(rows).data)
        self.count += len(rows)
        self.row, self.kind = rows.shape[1:], rows.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, *self.row)

    def copy_to(self, file: IO[Any]) -> None:
        self.bytes.seek(0)
        shutil.copyfileobj(self.bytes, file)


def write_samples(path: Path, batches: Iterable[Samples]) -> tuple[int, ...]:
    """Write samples as `.npz` or `.safetensors`, by the ending of `path`, as they come; a file holds all.

    Memory is that of one batch. Until the file is whole its parts lie in the same folder, without a name.

    Args:
        path: Where to.
        batches: At least one.

    Returns:
        Shape of all samples together, `(N, *shape)`.

    Raises:
        RunFailedError: The disk is full or the folder cannot be written.
    """
    batches = iter(batches)
    first = next(batches)  # what is wrong with a model is told before anything is made
    write = _safetensors if path.suffix == ".safetensors" else _npz
    with writing(path) as file, ExitStack() as stack:
        arrays = {
            name: _Array(stack.enter_context(tempfile.TemporaryFile(dir=path.parent)))
            for name in ("x", "logits", "label", "wanted")
        }
        for samples in chain([first], batches):
            arrays["x"].append(samples.x.cpu().numpy())
            arrays["logits"].append(samples.logits.cpu().numpy())
            arrays["label"].append(samples.logits.argmax(1).cpu().numpy())
            arrays["wanted"].append(samples.wanted.cpu().numpy())
        write(file, arrays)
        return arrays["x"].shape


def _npz(file: IO[bytes], arrays: dict[str, _Array]) -> None:
    """As `numpy.savez` does."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            header = {"descr": array.kind.str, "fortran_order": False, "shape": array.shape}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                array.copy_to(member)


def _safetensors(file: IO[bytes], arrays: dict[str, _Array]) -> None:
    """Its library writes what is in memory only; the format is a header and the numbers, widest first."""
    ordered = sorted(arrays.items(), key=lambda entry: -entry[1].kind.itemsize)
    header, end = dict[str, Any](), 0
    for name, array in ordered:
        start, end = end, end + array.bytes.tell()
        kind = _KINDS[array.kind.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, array in ordered:
        array.copy_to(file)
