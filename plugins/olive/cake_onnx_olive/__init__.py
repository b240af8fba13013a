"""Data-free distillation as a pass of Microsoft Olive.

>>> from olive.workflows import run  # doctest: +SKIP
>>> from cake_onnx_olive import package_config  # doctest: +SKIP
>>> run("workflow.json", package_config=package_config())  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cake_onnx_olive.distillation import CakeDistillation
    from cake_onnx_olive.errors import DistillationError, GateError
    from cake_onnx_olive.registration import package_config
    from cake_onnx_olive.workflow import Outcome, run_workflow

_HOMES = {
    "CakeDistillation": "distillation",
    "DistillationError": "errors",
    "GateError": "errors",
    "Outcome": "workflow",
    "package_config": "registration",
    "run_workflow": "workflow",
}
__all__ = [
    "CakeDistillation",
    "DistillationError",
    "GateError",
    "Outcome",
    "package_config",
    "run_workflow",
]


def __getattr__(name: str) -> Any:
    # Olive takes seconds to import; the command's help and the errors do not need it.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"cake_onnx_olive.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'cake_onnx_olive' has no attribute {name!r}")
