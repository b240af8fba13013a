"""Passes that fail, for real, in the ways after which Olive ends with exit code 0 and no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from olive.exception import OlivePassError
from olive.model import ONNXModelHandler
from olive.passes import Pass


class _Failing(Pass):  # type: ignore[misc]  # Olive ships no types
    runs: ClassVar[int] = 0

    @classmethod
    def _default_config(cls, accelerator_spec: Any) -> dict[str, Any]:
        return {}

    def _run_for_config(
        self, model: ONNXModelHandler, config: Any, output_model_path: str
    ) -> ONNXModelHandler:
        type(self).runs += 1
        self.fail(Path(model.model_path))
        return model

    def fail(self, path: Path) -> None:
        """Fail."""


class OutOfMemory(_Failing):
    """Torch tells by a RuntimeError that memory is out."""

    def fail(self, path: Path) -> None:
        torch.empty(2**50)


class NoFolder(_Failing):
    """The system tells by an OSError that a file is no folder."""

    def fail(self, path: Path) -> None:
        (path / "inside").write_bytes(b"")


class RefusedByOlive(_Failing):
    """Olive's own error, which it remembers in its cache."""

    def fail(self, path: Path) -> None:
        raise OlivePassError("the graph has an operator that this pass does not know")


class InvalidParameters(_Failing):
    """Olive prunes what a pass calls invalid."""

    @classmethod
    def validate_config(cls, config: Any, accelerator_spec: Any) -> bool:
        return False


TABLE = {
    "passes": {
        name: {
            "module_path": f"failing_passes.{name}",
            "supported_providers": ["*"],
            "supported_accelerators": ["*"],
            "supported_precisions": ["*"],
        }
        for name in ("OutOfMemory", "NoFolder", "RefusedByOlive", "InvalidParameters")
    }
}
