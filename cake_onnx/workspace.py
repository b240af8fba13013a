"""Files on disk: the output folder, its lock on one set of options, checkpoints, and atomic writes."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cake_onnx.bank import Samples
from cake_onnx.config import Config, parse_config, read_toml
from cake_onnx.errors import RunFailedError, UsageError
from cake_onnx.graph.load import load_model

#: Written last, in this order, so that `model.onnx` is never there without the report about it.
RESULTS = ("report.json", "report.html", "MODEL_CARD.md", "config.toml", "model.onnx")
_SECONDS_BETWEEN_CHECKPOINTS = 60.0


class Workspace:
    """One output folder.

    Args:
        folder: Made when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"

    def claim(self, inputs: Mapping[str, Any], overwrite: bool) -> Literal["new", "resume", "done"]:
        """Take the folder for a run with these inputs.

        Args:
            inputs: All that the result depends on: options, teacher hash, version.
            overwrite: Start anew whatever is there; only files this program writes are removed.

        Returns:
            `new`; `resume` if an unfinished run with the same inputs is there; `done` if a finished one is.

        Raises:
            UsageError: The folder holds a run with other inputs, or is no folder.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(
                "a folder for the output", f"a file at {self.folder}", "choose another with `-o`"
            )
        if overwrite:
            self._clear()
        finished = self._finished_inputs()
        if finished is not None:
            _compare(finished, inputs, f"the options of the finished run in {self.folder}")
            return "done"
        known = self._read_json(self.work / "inputs.json")
        if known is not None:
            _compare(known, inputs, f"the options of the unfinished run in {self.folder}")
            return "resume"
        write_atomically(self.work / "inputs.json", json.dumps(dict(inputs), indent=1).encode())
        return "new"

    @property
    def has_state(self) -> bool:
        """Whether an interrupted run left something to go on from."""
        return (self.work / "state.safetensors").exists()

    def finish(self, files: Mapping[str, bytes]) -> None:
        """Write all results and remove the working files.

        Args:
            files: Name to content, every name of `RESULTS` among them.
        """
        for name in RESULTS:
            write_atomically(self.work / name, files[name])
        for name in RESULTS:
            (self.work / name).replace(self.folder / name)
        shutil.rmtree(self.work, ignore_errors=True)

    def abandon(self) -> None:
        """Remove what `claim` made, if no state was saved: nothing half-written stays behind."""
        if not self.has_state:
            shutil.rmtree(self.work, ignore_errors=True)
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _clear(self) -> None:
        for name in RESULTS:
            (self.folder / name).unlink(missing_ok=True)
        for name in ("inputs.json", "state.safetensors"):
            (self.work / name).unlink(missing_ok=True)

    def _finished_inputs(self) -> dict[str, Any] | None:
        report = self._read_json(self.folder / "report.json")
        if report is None or not (self.folder / "model.onnx").exists():
            return None
        config = parse_config(read_toml(self.folder / "config.toml"))
        return _inputs(str(report["teacher"]["sha256"]), str(report["cake_onnx"]), config)

    def _read_json(self, path: Path) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"a readable {path}", str(error), "start anew with `--overwrite`") from error
        return found


def inputs_of(model: Path, config: Config) -> dict[str, Any]:
    """All that a result depends on: the teacher's bytes, the version and the options.

    Raises:
        UsageError: There is no such file.
        UnsupportedTeacherError: It is not an ONNX model.
    """
    return _inputs(load_model(model).sha256, version("cake-onnx"), config)


def write_samples(path: Path, samples: Samples) -> None:
    """Write samples as `.npz` or `.safetensors`, by the ending of `path`."""
    tensors = {
        "x": samples.x.cpu().contiguous(),
        "logits": samples.logits.cpu().contiguous(),
        "label": samples.logits.argmax(1).cpu(),
        "wanted": samples.wanted.cpu().contiguous(),
    }
    if path.suffix == ".safetensors":
        write_atomically(path, save(tensors))
        return
    buffer = io.BytesIO()
    np.savez(buffer, **{name: tensor.numpy() for name, tensor in tensors.items()})
    write_atomically(path, buffer.getvalue())


def _inputs(sha256: str, made_by: str, config: Config) -> dict[str, Any]:
    options = config.model_dump(mode="json")
    # A budget is only a word for a number of rounds, and config.toml of a finished run holds the number.
    options.pop("budget")
    options["rounds"] = None if config.max_minutes else config.planned_rounds
    return {"teacher": sha256, "version": made_by, **options}


def _compare(known: Mapping[str, Any], wanted: Mapping[str, Any], expected: str) -> None:
    different = [key for key in {**known, **wanted} if known.get(key) != wanted.get(key)]
    if different:
        told = ", ".join(f"{key} was {known.get(key)} and is {wanted.get(key)}" for key in different)
        raise UsageError(
            expected, told, "repeat them, choose another folder with `-o`, or start anew with `--overwrite`"
        )


class FileCheckpoints:
    """The state of a run in `work/state.safetensors`, replaced as a whole.

    Args:
        work: Folder of working files.
        seconds: Least time between two saves.
    """

    def __init__(self, work: Path, seconds: float = _SECONDS_BETWEEN_CHECKPOINTS) -> None:
        self.path = work / "state.safetensors"
        self.seconds = seconds
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether the least time has passed."""
        return time.monotonic() - self._last >= self.seconds

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Replace the state."""
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_atomically(self.path, save(plain, metadata={"facts": json.dumps(facts)}))
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last state, or None.

        Raises:
            UsageError: The file is damaged.
        """
        if not self.path.exists():
            return None
        data = self.path.read_bytes()
        try:
            tensors = load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            facts: dict[str, Any] = json.loads(header["__metadata__"]["facts"])
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise UsageError(
                f"a readable state in {self.path}", str(error), "start anew with `--overwrite`"
            ) from error
        return tensors, facts


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    Raises:
        RunFailedError: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunFailedError(
            f"to write {path}",
            error.strerror or str(error),
            "free some space or choose another folder with `-o`",
        ) from error
