"""Import onnx2torch without torchvision, which it imports for two detection operators no classifier uses."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from onnx import ModelProto
from torch import nn

from cake_onnx.errors import UnsupportedTeacherError

_NAMES = ("torchvision", "torchvision.ops")
_INFERENCE = "safe_shape_inference"


def import_engine() -> ModuleType:
    """onnx2torch, imported once, whether torchvision is present, absent or broken."""
    if "onnx2torch" not in sys.modules:
        with _stand_in():
            import onnx2torch  # noqa: F401  (the import itself registers the converters)
    return sys.modules["onnx2torch"]


def convert_inferred(model: ModelProto) -> nn.Module:
    """onnx2torch's `convert` for a model whose shapes are inferred already.

    Its own inference would serialise all weights once more, and fail on operators of our private domains.
    Every submodule says which tensors of the graph it reads and makes (`onnx_mapping`).
    """
    converter = importlib.import_module(f"{import_engine().__name__}.converter")
    inference = vars(converter)[_INFERENCE]
    vars(converter)[_INFERENCE] = lambda given: given
    try:
        module: nn.Module = converter.convert(model, attach_onnx_mapping=True)
    finally:
        vars(converter)[_INFERENCE] = inference
    return module


@contextmanager
def _stand_in() -> Iterator[None]:
    """A small `torchvision` for the length of one import; afterwards the world sees the truth again."""
    if sys.modules.get("torchvision") is not None:
        yield
        return
    before = {name: sys.modules[name] for name in _NAMES if name in sys.modules}
    package, ops = (ModuleType(name) for name in _NAMES)
    for module in (package, ops):
        module.__spec__ = ModuleSpec(module.__name__, None, is_package=module is package)
    for function in ("nms", "roi_align", "box_convert"):
        setattr(ops, function, _refuse)
    package.ops = ops  # type: ignore[attr-defined]
    ours = dict(zip(_NAMES, (package, ops), strict=True))
    sys.modules.update(ours)
    try:
        yield
    finally:
        for name, module in ours.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        sys.modules.update(before)


def _refuse(*_: Any, **__: Any) -> Any:
    raise UnsupportedTeacherError(
        "a classifier", "an operator of object detection (NonMaxSuppression or RoiAlign)", "use a classifier"
    )
