"""An ONNX classifier in, a smaller ONNX classifier that behaves like it out, and no data in between.

>>> import cake_onnx
>>> result = cake_onnx.compress("model.onnx", cake_onnx.Config(compression=4))  # doctest: +SKIP
>>> result.report.verdict  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cake_onnx.config import Config
    from cake_onnx.errors import CakeError, RunFailedError, UnsupportedTeacherError, UsageError
    from cake_onnx.pipeline import Result, compress

_HOMES = {
    "Config": "config",
    "CakeError": "errors",
    "RunFailedError": "errors",
    "UnsupportedTeacherError": "errors",
    "UsageError": "errors",
    "Result": "pipeline",
    "compress": "pipeline",
}
__all__ = [
    "CakeError",
    "Config",
    "Result",
    "RunFailedError",
    "UnsupportedTeacherError",
    "UsageError",
    "compress",
]


def __getattr__(name: str) -> Any:
    # Torch takes two seconds to import; nobody who only wants an error class or the help should wait for it.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"cake_onnx.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'cake_onnx' has no attribute {name!r}")
