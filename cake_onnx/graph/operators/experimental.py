"""Operators of the time before ONNX 1.4 that its specification dropped and onnxruntime still runs.

Core ML and MATLAB wrote them into classifiers of opset 9 and below.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator


@operator("Affine", since=(1,))
def affine(node: Node) -> Bound:
    """Experimental ONNX Affine-1: alpha·x + beta."""
    return node.bind(Apply(_affine, **_alpha_beta(node)), 0)


def _affine(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * x + beta


@operator("ScaledTanh", since=(1,))
def scaled_tanh(node: Node) -> Bound:
    """Experimental ONNX ScaledTanh-1: alpha · tanh(beta·x)."""
    return node.bind(Apply(_scaled_tanh, **_alpha_beta(node)), 0)


def _scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * torch.tanh(beta * x)


@operator("ParametricSoftplus", since=(1,))
def parametric_softplus(node: Node) -> Bound:
    """Experimental ONNX ParametricSoftplus-1: alpha · log(1 + exp(beta·x))."""
    return node.bind(Apply(_parametric_softplus, **_alpha_beta(node)), 0)


def _parametric_softplus(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * functional.softplus(beta * x)


def _alpha_beta(node: Node) -> dict[str, float]:
    values = {name: node.attribute(name) for name in ("alpha", "beta")}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        raise DeclinedError(f"{node.op_type} without {missing[0]}")
    return {name: float(value) for name, value in values.items()}


@operator("Scale", since=(1,))
def scale(node: Node) -> Bound:
    """Experimental ONNX Scale-1: a number times x."""
    return node.bind(Apply(_affine, alpha=float(node.attribute("scale", 1.0)), beta=0.0), 0)


class _ImageScaler(nn.Module):
    """One factor for all pixels, then one shift a channel.

    Args:
        scale: The factor.
        bias: The shifts `(C,)`.
    """

    bias: Tensor

    def __init__(self, scale: float, bias: list[float]) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("bias", torch.tensor(bias).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same shape."""
        return x * self.scale + self.bias


@operator("ImageScaler", since=(1,))
def image_scaler(node: Node) -> Bound:
    """Experimental ONNX ImageScaler-1: how Core ML normalises images."""
    bias = node.attribute("bias")
    return node.bind(_ImageScaler(float(node.attribute("scale", 1.0)), bias or [0.0]), 0)


@operator("Crop", since=(1,))
def crop(node: Node) -> Bound:
    """Experimental ONNX Crop-1: cut borders (left, top, right, bottom), or a window of a size from there."""
    border, size = node.attribute("border"), node.attribute("scale")
    if border is None or len(border) != 4 or (size and len(size) != 2):
        raise DeclinedError(f"border={border}, scale={size}")
    return node.bind(Apply(_crop, border=list(border), size=list(size or [])), 0)


def _crop(x: Tensor, border: list[int], size: list[int]) -> Tensor:
    left, top, right, bottom = border
    if size:
        return x[..., top : top + size[0], left : left + size[1]]
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@operator("ThresholdedRelu", since=(1,))
def thresholded_relu_1(node: Node) -> Bound:
    """Experimental ONNX ThresholdedRelu-1: as version 10."""
    return node.bind(Apply(functional.threshold, threshold=float(node.attribute("alpha", 1.0)), value=0.0), 0)
