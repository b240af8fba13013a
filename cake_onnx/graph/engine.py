"""onnx2torch, which does the conversion, without torchvision and without its own inference of shapes."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from onnx import ModelProto
from torch import nn

from cake_onnx.graph.without_torchvision import without_torchvision

_INFERENCE = "safe_shape_inference"


def import_engine() -> ModuleType:
    """onnx2torch, imported once, whether torchvision is present, absent or broken."""
    if "onnx2torch" not in sys.modules:
        with without_torchvision():
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
