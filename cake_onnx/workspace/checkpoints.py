"""The state of a run on disk, so that an interrupted one can go on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cake_onnx.errors import UsageError
from cake_onnx.workspace.writing import write_atomically

STATE = "state.safetensors"
_SECONDS_BETWEEN_CHECKPOINTS = 60.0


class FileCheckpoints:
    """The state of a run in `work/state.safetensors`, replaced as a whole.

    Args:
        work: Folder of working files.
        seconds: Least time between two saves.
    """

    def __init__(self, work: Path, seconds: float = _SECONDS_BETWEEN_CHECKPOINTS) -> None:
        self.path = work / STATE
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
