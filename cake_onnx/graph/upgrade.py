"""Bring a file of an old opset to a newer one; nothing is ever brought to an older."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import ModelProto, version_converter

from cake_onnx.graph.tensors import opset_of

OLDEST_KEPT = 9
"""Files of this opset and above are converted as they are."""
_TARGETS = (13, 9)


def is_old(model: ModelProto) -> bool:
    """Whether the standard operators of a model are of an opset below `OLDEST_KEPT`."""
    version = opset_of(model)
    return version is not None and version < OLDEST_KEPT


def upgrades(model: ModelProto) -> Iterator[ModelProto]:
    """An old model in opset 13, then in opset 9, as far as onnx can rewrite it. The results are not verified.

    Args:
        model: A model of opset 8 or below; it is not changed.
    """
    for target in _TARGETS:
        try:
            yield version_converter.convert_version(model, target)
        except (RuntimeError, version_converter.ConvertError, onnx.checker.ValidationError):
            # onnx has no adapter for some operators, such as LSTM-1.
            continue
