"""Why Olive ended without a model: it goes on after many errors, and tells them only to its log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cake_onnx.errors import with_its_kind

if TYPE_CHECKING:
    from olive.engine.footprint import Footprint

_OLIVE = logging.getLogger("olive")
#: Where Olive tells what it goes on after.
_ENGINE = logging.getLogger("olive.engine.engine")


class Causes:
    """What Olive's log told: errors that it went on after, and warnings.

    Attributes:
        errors: In the order in which Olive met them, the first being the deepest.
        warnings: Texts without an error.
    """

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.warnings: list[str] = []

    def note(self, record: logging.LogRecord) -> None:
        """Take one line of the log."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and error not in self.errors:
            self.errors.append(error)
        elif error is None and record.getMessage() not in self.warnings:
            self.warnings.append(record.getMessage())


class _All(logging.Handler):
    """Notes what Olive shows."""

    def __init__(self, causes: Causes) -> None:
        super().__init__(logging.WARNING)
        self._causes = causes

    def emit(self, record: logging.LogRecord) -> None:
        self._causes.note(record)


class _Hidden(logging.Filter):
    """Notes what the engine says, also where the workflow's level hides it; shows no more than before."""

    def __init__(self, causes: Causes) -> None:
        super().__init__()
        self._causes = causes

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            self._causes.note(record)
        return record.levelno >= _OLIVE.getEffectiveLevel()


@contextmanager
def listening() -> Iterator[Causes]:
    """Hear what Olive logs meanwhile."""
    causes, level = Causes(), _ENGINE.level
    shown, hidden = _All(causes), _Hidden(causes)
    _OLIVE.addHandler(shown)
    _ENGINE.addFilter(hidden)
    _ENGINE.setLevel(logging.DEBUG)
    try:
        yield causes
    finally:
        _OLIVE.removeHandler(shown)
        _ENGINE.removeFilter(hidden)
        _ENGINE.setLevel(level)


def why_no_model(footprint: Footprint, causes: Causes) -> str:
    """One sentence on why there is no output model, after a run that Olive ended without an error."""
    if causes.errors:
        return f"Olive went on after {with_its_kind(causes.errors[0])}"
    failed = [node.from_pass for node in footprint.nodes.values() if _is_pruned(node.model_config_data)]
    if failed:
        return (
            f"Olive's cache holds a failure of {', '.join(failed)} with the same parameters, "
            "and repeats it without running; set clean_cache to true once"
        )
    return f"Olive says: {' '.join(causes.warnings) or 'nothing about it'}"


def mistaken_files(footprint: Footprint) -> list[str]:
    """Files of the current folder that Olive took for the outputs of passes.

    Olive 0.13 makes every string of a model's configuration that names an existing file an absolute path,
    also the name that a model has inside its own folder. Whatever used that model then used the other file.
    """
    used = {node.parent_model_id for node in footprint.nodes.values()}
    names = [
        ((node.model_config_data or {}).get("config") or {}).get("onnx_file_name")
        for model_id, node in footprint.nodes.items()
        if model_id in used or node.metrics is not None
    ]
    return sorted({name for name in names if name and not Path(name).is_absolute() and Path(name).exists()})


def _is_pruned(model_config: dict[str, object] | None) -> bool:
    return bool(model_config and model_config.get("is_pruned"))
