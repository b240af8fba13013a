"""The user's own data, for judging only: nothing here ever reaches training."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cake_onnx.errors import UsageError
from cake_onnx.graph.specs import InputSpec


@dataclass(frozen=True)
class Evaluation:
    """Inputs and, if known, their labels.

    Attributes:
        name: File name, for people.
        x: `(N, *shape)` float32 in the teacher's input units.
        y: Class indices `(N,)`, or None.
    """

    name: str
    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64] | None


def load_evaluation(path: Path, input: InputSpec, classes: int) -> Evaluation:
    """Read an `.npz` with `x` and optionally `y`.

    Args:
        path: The file; arrays of Python objects are refused, since they would run code.
        input: What the teacher takes; `x` may also come flattened.
        classes: K; labels lie in [0, K).

    Raises:
        UsageError: The file does not hold that.
    """
    names, arrays = _read(path)
    if "x" not in arrays:
        raise UsageError(
            f"an array `x` in {path.name}",
            ", ".join(names) or "nothing",
            "save it with np.savez(…, x=…, y=…)",
        )
    x = arrays["x"]
    if not x.size or not _fits(x.shape[1:], input.shape) or not x.shape or x.dtype.kind not in "fiub":
        raise UsageError(
            f"`x` of shape (N, {', '.join(map(str, input.shape))}) with numbers in {path.name}",
            f"shape {x.shape} of {x.dtype}",
            "scale and shape it as the teacher takes it",
        )
    with np.errstate(over="ignore"):
        numbers = x.reshape(len(x), *input.shape).astype(np.float32)
    if not np.isfinite(numbers).all():
        raise UsageError(f"finite numbers in `x` of {path.name}", "NaN or infinity", "remove those samples")
    return Evaluation(path.name, numbers, _labels(arrays.get("y"), len(x), classes, path.name))


def _fits(given: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Flattened, or the same axes but for those of length 1; the same numbers in another order are no fit."""
    return [n for n in given if n != 1] in ([n for n in shape if n != 1], [math.prod(shape)])


def _read(path: Path) -> tuple[list[str], dict[str, npt.NDArray[np.generic]]]:
    """Names of all arrays of the file, and the two that matter."""
    if path.is_dir():
        raise UsageError("an .npz file for `--eval`", f"a folder, {path}", "give a file inside it")
    try:
        if path.is_file() and not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("not an archive of arrays")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("x", "y") if name in archive.files}
            if not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise zipfile.BadZipFile("an archive of other files than arrays")
            return list(archive.files), arrays
    except FileNotFoundError as error:
        raise UsageError("an .npz file for `--eval`", f"no file {path}", "check the path") from error
    except (OSError, ValueError, MemoryError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(
            "an .npz file for `--eval`", f"{path.name}: {error}", "save it with np.savez(…, x=…, y=…)"
        ) from error


def _labels(
    y: npt.NDArray[np.generic] | None, count: int, classes: int, name: str
) -> npt.NDArray[np.int64] | None:
    if y is None:
        return None
    if y.shape != (count,) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= classes:
        raise UsageError(
            f"`y` with {count} class indices from 0 to {classes - 1} in {name}",
            f"shape {y.shape} of {y.dtype}"
            + (f", {y.min()} to {y.max()}" if y.size and y.dtype.kind in "iu" else ""),
            "give the index of the winning score, not its name",
        )
    return y.astype(np.int64)
