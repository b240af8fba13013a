"""Weights stored beside the model file (ONNX specification, "External Data")."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto, TensorProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.tensors import all_tensors, check_stored_sizes, declared_bytes


@dataclass(frozen=True)
class _Piece:
    """Where one tensor's bytes lie: `[offset, offset + length)` of `file`."""

    file: Path
    offset: int
    length: int


def attach_external_data(model: ModelProto, folder: Path, *, budget: int) -> int:
    """Read external weights into the model, in place, and check the size of every stored tensor.

    Args:
        model: The parsed model.
        folder: The folder of the model file; nothing outside it is read.
        budget: Most bytes that may be added.

    Returns:
        Size in bytes of the external files that were used.

    Raises:
        UnsupportedTeacherError: A file is missing, lies outside the folder, is too short, or is too large.
    """
    wanted = [tensor for tensor in all_tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    pieces = [_locate(tensor, folder) for tensor in wanted]
    if sum(piece.length for piece in pieces) > budget:
        raise UnsupportedTeacherError(
            "a model below 2 GB with its external data",
            f"{sum(piece.length for piece in pieces):,} bytes of external weights",
            "use a smaller teacher, for example its half-precision export",
        )
    for tensor, piece in zip(wanted, pieces, strict=True):
        with piece.file.open("rb") as file:
            file.seek(piece.offset)
            tensor.raw_data = file.read(piece.length)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    check_stored_sizes(model)
    return sum(file.stat().st_size for file in {piece.file for piece in pieces})


def _locate(tensor: TensorProto, folder: Path) -> _Piece:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    file = _inside(folder, entries.get("location", ""), tensor.name)
    length = declared_bytes(tensor)
    if length is None:
        raise _damaged(tensor.name, f"element type {tensor.data_type} in external data")
    try:
        offset, stored = int(entries.get("offset", 0)), int(entries.get("length", length))
    except ValueError as error:
        raise _damaged(tensor.name, "an offset or length that is not a number") from error
    size = file.stat().st_size
    if stored != length or offset < 0 or offset + length > size:
        raise _damaged(
            tensor.name, f"{length:,} bytes wanted at {offset:,} of {file.name}, which has {size:,}"
        )
    return _Piece(file, offset, length)


def _inside(folder: Path, location: str, tensor: str) -> Path:
    """The file a tensor points to, links followed, if it lies in the model's folder."""
    file = folder / location
    root = folder.resolve()
    if not location or Path(location).is_absolute() or not file.resolve().is_relative_to(root):
        raise UnsupportedTeacherError(
            "external data inside the model's folder",
            f"tensor '{tensor}' pointing to '{location}'",
            "move the data file beside the model and export it again",
        )
    if not file.is_file():
        raise UnsupportedTeacherError(
            f"the external data file '{location}' beside the model",
            "no such file",
            "copy it there, or export the model with its weights inside",
        )
    return file


def _damaged(tensor: str, found: str) -> UnsupportedTeacherError:
    return UnsupportedTeacherError(
        f"external data for tensor '{tensor}'", found, "download or export the model again"
    )
