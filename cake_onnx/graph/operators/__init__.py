"""Operators and versions that onnx2torch lacks or gets wrong, one file a family; importing registers them."""

from __future__ import annotations

from cake_onnx.graph.operators import (
    activation,
    aliases,
    cast,
    classic,
    convolution,
    linear,
    normalisation,
    pooling,
    quantisation,
    reduction,
    rounding,
    shape,
    slicing,
    variadic,
)

__all__ = [
    "activation",
    "aliases",
    "cast",
    "classic",
    "convolution",
    "linear",
    "normalisation",
    "pooling",
    "quantisation",
    "reduction",
    "rounding",
    "shape",
    "slicing",
    "variadic",
]
