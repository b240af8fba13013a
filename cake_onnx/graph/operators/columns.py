"""Choosing and joining columns of a table (`ai.onnx.ml`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.registry import ML, Apply, Bound, DeclinedError, Node, operator


class Columns(nn.Module):
    """Entries of the last axis at fixed places, in that order."""

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.places: Tensor
        self.register_buffer("places", places)

    def forward(self, x: Tensor) -> Tensor:
        """`x (..., F)` to `(..., n)`; a vector `(F,)` to `(1, n)`."""
        return _extracted(x, self.places)


@operator("ArrayFeatureExtractor", since=(1,), domain=ML)
def array_feature_extractor(node: Node) -> Bound:
    """ONNX-ML ArrayFeatureExtractor-1: entries of the last axis, at stored or at computed places."""
    places = node.integers(1)
    if places is not None:
        return node.bind(Columns(torch.tensor(places)), 0)
    return bind_operands(node, _extracted)


@operator("FeatureVectorizer", since=(1,), domain=ML)
def feature_vectorizer(node: Node) -> Bound:
    """ONNX-ML FeatureVectorizer-1: tables side by side, each cut or filled with zeros to its stated width."""
    widths = tuple(node.attribute("inputdimensions", []))
    if len(widths) != len(node.inputs) or any(node.constant(i) is not None for i in range(len(widths))):
        raise DeclinedError("FeatureVectorizer with other than one computed input for each of its widths")
    return node.bind(Apply(_side_by_side, widths=widths), *range(len(widths)))


def _extracted(x: Tensor, places: Tensor) -> Tensor:
    rows = x.unsqueeze(0) if x.dim() == 1 else x
    return rows[..., places.reshape(-1).to(torch.int64)]


def _side_by_side(*tables: Tensor, widths: tuple[int, ...]) -> Tensor:
    parts = [table.reshape(len(table), -1).to(torch.float32) for table in tables]
    fitted = [
        functional.pad(part, (0, width - part.shape[1])) for part, width in zip(parts, widths, strict=True)
    ]
    return torch.cat(fitted, dim=1)
