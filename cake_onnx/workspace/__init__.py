"""Files on disk: the output folder, its lock on one set of options, checkpoints, and atomic writes."""

from __future__ import annotations

from cake_onnx.workspace.checkpoints import FileCheckpoints
from cake_onnx.workspace.folder import RESULTS, Workspace, inputs_of
from cake_onnx.workspace.samples import write_samples
from cake_onnx.workspace.writing import require_writable, write_atomically

__all__ = [
    "RESULTS",
    "FileCheckpoints",
    "Workspace",
    "inputs_of",
    "require_writable",
    "write_atomically",
    "write_samples",
]
