"""Activations: rectifiers, exponential and sigmoid units, Gelu and its kin, in all their versions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.graph.operators.registry import MICROSOFT, Apply, Bound, DeclinedError, Node, operator


@operator("Relu", since=(1, 6, 13, 14))
@operator("Sigmoid", since=(1, 6, 13))
@operator("Tanh", since=(1, 6, 13))
@operator("Softplus", since=(1, 22))
@operator("Softsign", since=(1, 22))
@operator("HardSwish", since=(14, 22))
@operator("Mish", since=(18, 22))
def plain(node: Node) -> Bound:
    """ONNX Relu-14, Sigmoid-13, Tanh-13, Softplus-22, Softsign-22, HardSwish-22, Mish-22: no attributes."""
    # Version 1 says which memory may be used again; the result is the same.
    node.ignore("consumed_inputs")
    modules: dict[str, type[nn.Module]] = {
        "Relu": nn.ReLU,
        "Sigmoid": nn.Sigmoid,
        "Tanh": nn.Tanh,
        "Softplus": nn.Softplus,
        "Softsign": nn.Softsign,
        "HardSwish": nn.Hardswish,
        "Mish": nn.Mish,
    }
    return node.bind(modules[node.op_type](), 0)


@operator("LeakyRelu", since=(1, 6, 16))
def leaky_relu(node: Node) -> Bound:
    """ONNX LeakyRelu-16."""
    node.ignore("consumed_inputs")
    return node.bind(nn.LeakyReLU(float(node.attribute("alpha", 0.01))), 0)


@operator("PRelu", since=(1, 6, 7, 9, 16))
def parametric_relu(node: Node) -> Bound:
    """ONNX PRelu-16: the slope broadcasts to the input; before version 7 it holds one number a channel."""
    node.ignore("consumed_inputs")
    return node.bind(Apply(_parametric_relu, by_channel=node.version < 7), 0, 1)


def _parametric_relu(x: Tensor, slope: Tensor, by_channel: bool) -> Tensor:
    if by_channel and x.dim() > 2:
        slope = slope.reshape(-1, *[1] * (x.dim() - 2))
    return torch.where(x < 0, x * slope, x)


@operator("ThresholdedRelu", since=(10, 22))
def thresholded_relu(node: Node) -> Bound:
    """ONNX ThresholdedRelu-22: x where it exceeds `alpha`, else 0."""
    alpha = float(node.attribute("alpha", 1.0))
    return node.bind(Apply(functional.threshold, threshold=alpha, value=0.0), 0)


@operator("Shrink", since=(9,))
def shrink(node: Node) -> Bound:
    """ONNX Shrink-9: beyond ±`lambd` moved towards zero by `bias`, between them 0."""
    options = {"bias": float(node.attribute("bias", 0.0)), "lambd": float(node.attribute("lambd", 0.5))}
    return node.bind(Apply(_shrink, **options), 0)


def _shrink(x: Tensor, bias: float, lambd: float) -> Tensor:
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, 0.0))


@operator("Elu", since=(1, 6, 22))
def elu(node: Node) -> Bound:
    """ONNX Elu-22."""
    node.ignore("consumed_inputs")
    return node.bind(nn.ELU(float(node.attribute("alpha", 1.0))), 0)


@operator("Selu", since=(1, 6, 22))
def selu(node: Node) -> Bound:
    """ONNX Selu-22: `gamma` times an Elu; any constants, where torch has one pair."""
    node.ignore("consumed_inputs")
    alpha, gamma = (1.6732, 1.0507) if node.version == 1 else (1.6732631921768188, 1.0507010221481323)
    options = {"alpha": float(node.attribute("alpha", alpha)), "gamma": float(node.attribute("gamma", gamma))}
    return node.bind(Apply(_selu, **options), 0)


def _selu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    return gamma * functional.elu(x, alpha)


@operator("Celu", since=(12, 28))
def celu(node: Node) -> Bound:
    """ONNX Celu-12."""
    return node.bind(nn.CELU(float(node.attribute("alpha", 1.0))), 0)


@operator("HardSigmoid", since=(1, 6, 22))
def hard_sigmoid(node: Node) -> Bound:
    """ONNX HardSigmoid-22: a line between 0 and 1."""
    node.ignore("consumed_inputs")
    options = {"alpha": float(node.attribute("alpha", 0.2)), "beta": float(node.attribute("beta", 0.5))}
    return node.bind(Apply(_hard_sigmoid, **options), 0)


def _hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


@operator("Gelu", since=(20,))
def gelu(node: Node) -> Bound:
    """ONNX Gelu-20: exact, or the tanh approximation."""
    approximate = node.attribute("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise DeclinedError(f"approximate={approximate}")
    return node.bind(nn.GELU(approximate), 0)


@operator("Gelu", since=(1,), domain=MICROSOFT)
def microsoft_gelu(node: Node) -> Bound:
    """onnxruntime contrib operator Gelu: exact."""
    return node.bind(nn.GELU(), 0)


@operator("BiasGelu", since=(1,), domain=MICROSOFT)
@operator("FastGelu", since=(1,), domain=MICROSOFT)
def microsoft_biased_gelu(node: Node) -> Bound:
    """onnxruntime contrib operators BiasGelu (exact) and FastGelu (tanh), bias in front."""
    approximate = "tanh" if node.op_type == "FastGelu" else "none"
    return node.bind(Apply(_biased_gelu, approximate=approximate), 0, 1)


def _biased_gelu(x: Tensor, bias: Tensor | None = None, *, approximate: str) -> Tensor:
    return functional.gelu(x if bias is None else x + bias, approximate=approximate)


@operator("QuickGelu", since=(1,), domain=MICROSOFT)
def microsoft_quick_gelu(node: Node) -> Bound:
    """onnxruntime contrib operator QuickGelu: x · sigmoid(alpha·x)."""
    return node.bind(Apply(_swish, alpha=float(node.attribute("alpha", 1.702))), 0)


@operator("Swish", since=(24,))
def swish(node: Node) -> Bound:
    """ONNX Swish-24: x · sigmoid(alpha·x)."""
    return node.bind(Apply(_swish, alpha=float(node.attribute("alpha", 1.0))), 0)


def _swish(x: Tensor, alpha: float) -> Tensor:
    return x * torch.sigmoid(alpha * x)
