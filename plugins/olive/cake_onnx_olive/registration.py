"""How Olive learns of us: it has no entry points, and a table given to it replaces its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from olive.common.config_utils import load_config_file
from olive.package_config import OlivePackageConfig

from cake_onnx.errors import UsageError, with_its_kind

#: Our rows of Olive's table of passes.
PASSES: Mapping[str, Mapping[str, Any]] = {
    "CakeDistillation": {
        "module_path": "cake_onnx_olive.distillation.CakeDistillation",
        "supported_providers": ["*"],
        "supported_accelerators": ["*"],
        "supported_precisions": ["*"],
        "supported_algorithms": [],
        "supported_quantization_encodings": [],
    }
}


def package_config(base: str | Path | Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Olive's table of passes with ours in it, for `olive.workflows.run(…, package_config=…)`.

    Args:
        base: The table to add to, or its file; Olive's own, as installed, if None.

    Raises:
        UsageError: The base is no such table.
    """
    if base is None:
        base = OlivePackageConfig.get_default_config_path()
    try:
        table = dict(base) if isinstance(base, Mapping) else load_config_file(base)
        OlivePackageConfig.model_validate(table)
    except (OSError, ValueError) as error:
        raise UsageError(
            "a table of passes, as .json or .yaml", with_its_kind(error), "mend the file"
        ) from error
    return {**table, "passes": {**table.get("passes", {}), **{k: dict(v) for k, v in PASSES.items()}}}


def package_config_text(base: str | Path | Mapping[str, Any] | None = None) -> str:
    """The same as the text of a file, for `olive run --package-config`."""
    return json.dumps(package_config(base), indent=2) + "\n"
