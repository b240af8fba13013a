"""Read a model file from disk, trusting nothing in it: sizes and paths are checked before memory is taken."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from cake_onnx.errors import UnsupportedTeacherError, UsageError
from cake_onnx.graph.external import attach_external_data

MAX_BYTES = 2**31 - 1
"""Protobuf cannot hold a message of 2 GB or more (protobuf encoding guide, "size limits")."""

_WANTED = "an ONNX model file"

_OTHER_FORMATS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "a git-lfs pointer, not the model it points to",
        "run `git lfs pull` and try again",
    ),
    (
        b"PK\x03\x04",
        "a zip archive, such as a PyTorch or Keras checkpoint",
        "export the model to ONNX and give that file",
    ),
    (b"\x89HDF\r\n", "an HDF5 file, such as a Keras model", "export the model to ONNX and give that file"),
    (b"\x80\x02", "a Python pickle", "export the model to ONNX and give that file"),
    (b"\x1f\x8b", "a gzip archive", "unpack it and give the .onnx file inside"),
)


Raw = bytes
"""Same type under a name the class below can use beside its own field `bytes`."""


@dataclass(frozen=True)
class LoadedModel:
    """A model file in memory.

    Attributes:
        path: Where it was read from.
        model: The parsed model, external data included.
        data: The main file exactly as read.
        sha256: Hexadecimal digest of `data` (external data files are not part of it).
        bytes: Size on disk of the file and its external data, in bytes.
    """

    path: Path
    model: onnx.ModelProto
    data: Raw
    sha256: str
    bytes: int

    @property
    def runnable(self) -> Raw:
        """The whole model as one message that a runtime can load without the folder it came from."""
        return self.data if len(self.data) == self.bytes else self.model.SerializeToString()


def load_model(path: Path) -> LoadedModel:
    """Read and parse one ONNX file with its external data.

    Args:
        path: The `.onnx` file.

    Returns:
        The model with every weight inside.

    Raises:
        UsageError: There is no such file, or it is a folder.
        UnsupportedTeacherError: The file is not an ONNX model this program can use.
    """
    _check_is_file(path)
    size = path.stat().st_size
    _check_size(path, size)
    data = path.read_bytes()
    model = parse_model(data, str(path))
    extra = attach_external_data(model, path.parent, budget=MAX_BYTES - size)
    return LoadedModel(path, model, data, hashlib.sha256(data).hexdigest(), size + extra)


def parse_model(data: bytes, name: str) -> onnx.ModelProto:
    """Parse the bytes of a model.

    Args:
        data: A serialised `ModelProto`.
        name: What to call it in messages.

    Raises:
        UnsupportedTeacherError: The bytes are another format, damaged, or hold no graph.
    """
    _refuse_other_formats(data, name)
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise UnsupportedTeacherError(
            _WANTED,
            f"{len(data):,} bytes in {name} that are no whole model: damaged, cut short or of another kind",
            "download or export the model again",
        ) from error
    if not model.graph.node:
        raise UnsupportedTeacherError(
            "an ONNX model with at least one operator",
            f"none in {name}",
            "check that the file is the exported classifier and export it again",
        )
    return model


def _check_is_file(path: Path) -> None:
    if not path.exists():
        raise UsageError(_WANTED, f"no file {path}", "check the path")
    if path.is_dir():
        inside = sorted(entry.name for entry in path.glob("*.onnx"))
        hint = f"give the file inside it: {inside[0]}" if inside else "give the .onnx file itself"
        raise UsageError(_WANTED, f"a folder, {path}", hint)
    if not path.is_file():
        raise UsageError(_WANTED, f"a device or pipe, {path}", "save the model to a regular file first")


def _check_size(path: Path, size: int) -> None:
    if size == 0:
        raise UnsupportedTeacherError(_WANTED, f"an empty file, {path}", "download or export the model again")
    if size > MAX_BYTES:
        raise UnsupportedTeacherError(
            "an ONNX model file below 2 GB",
            f"{size:,} bytes in {path}",
            "export the model with its weights as external data",
        )


def _refuse_other_formats(data: bytes, name: str) -> None:
    for magic, what, remedy in _OTHER_FORMATS:
        if data.startswith(magic):
            raise UnsupportedTeacherError(_WANTED, f"{what}: {name}", remedy)
    if _is_text(data[:4096]):
        raise UnsupportedTeacherError(_WANTED, f"a text file, {name}", "give the binary .onnx file")


def _is_text(head: bytes) -> bool:
    # A serialised model begins with field tags (control characters), so plain text is never one.
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        # Cut inside the last character of the sample is still text.
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")
    return all(char.isprintable() or char in "\r\n\t\f" for char in text)
