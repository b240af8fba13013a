"""What onnxruntime's optimiser makes of a product and what follows: FusedConv, FusedGemm, FusedMatMul."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.graph.operators.convolution import computed_conv, stored_conv
from cake_onnx.graph.operators.linear import computed_gemm, stored_gemm
from cake_onnx.graph.operators.registry import MICROSOFT, Apply, Bound, DeclinedError, Node, operator

Function = Callable[..., Tensor]

_FUNCTIONS: dict[str, tuple[Function, int]] = {
    # name: (function of x and its parameters, how many there are; onnxruntime takes no defaults here)
    "Relu": (torch.relu, 0),
    "Tanh": (torch.tanh, 0),
    "Sigmoid": (torch.sigmoid, 0),
    "Softplus": (functional.softplus, 0),
    "Softsign": (functional.softsign, 0),
    "HardSwish": (functional.hardswish, 0),
    "LeakyRelu": (functional.leaky_relu, 1),
    "Elu": (functional.elu, 1),
    "ThresholdedRelu": (lambda x, alpha: torch.where(x > alpha, x, 0.0), 1),
    "HardSigmoid": (lambda x, alpha, beta: (alpha * x + beta).clamp(0, 1), 2),
    "Clip": (torch.clamp, 2),
    "Selu": (lambda x, alpha, gamma: gamma * functional.elu(x, alpha), 2),
}


class Activation(nn.Module):
    """One of the functions that onnxruntime fuses into the operator before it.

    Args:
        name: ONNX name of the function, empty for none.
        parameters: Its parameters, in the order of its attributes.

    Raises:
        DeclinedError: The function is not known, or takes another number of parameters.
    """

    def __init__(self, name: str, parameters: Sequence[float]) -> None:
        super().__init__()
        if name and name not in _FUNCTIONS:
            raise DeclinedError(f"the fused activation {name}")
        function, count = _FUNCTIONS[name] if name else (_itself, 0)
        if len(parameters) != count:
            raise DeclinedError(f"the fused activation {name} with {len(parameters)} parameters")
        self.name = name
        self._function: Function = function
        self._values = tuple(parameters)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function element by element."""
        return self._function(x, *self._values)

    def extra_repr(self) -> str:
        """Name and parameters."""
        return ", ".join([self.name, *map(str, self._values)])


def _itself(x: Tensor) -> Tensor:
    return x


class FusedConvolution(nn.Module):
    """A convolution, a sum with another branch if there is one, an activation.

    Args:
        convolution: Called with all tensors but the other branch.
        activation: What follows.
        adds: The last tensor is another branch.
    """

    def __init__(self, convolution: nn.Module, activation: nn.Module, *, adds: bool) -> None:
        super().__init__()
        self.convolution = convolution
        self.activation = activation
        self.adds = adds

    def forward(self, *tensors: Tensor) -> Tensor:
        """Convolve the first tensor."""
        if self.adds:
            *operands, other = tensors
            return self.activation(self.convolution(*operands) + other)  # type: ignore[no-any-return]
        return self.activation(self.convolution(*tensors))  # type: ignore[no-any-return]


@operator("FusedConv", since=(1,), domain=MICROSOFT)
def fused_conv(node: Node) -> Bound:
    """com.microsoft FusedConv-1: Conv, plus Z if it is given, then an activation."""
    activation = Activation(node.attribute("activation", ""), node.attribute("activation_params") or [])
    stored = stored_conv(node)
    module = FusedConvolution(stored or computed_conv(node), activation, adds=node.has(3))
    return node.bind(module, 0, 3) if stored is not None else node.bind(module, 0, 1, 2, 3)


@operator("FusedGemm", since=(1,), domain=MICROSOFT)
def fused_gemm(node: Node) -> Bound:
    """com.microsoft FusedGemm-1: Gemm, then an activation."""
    given = [node.attribute(f"activation_{name}") for name in ("alpha", "beta", "gamma")]
    parameters = [float(value) for value in given if value is not None]
    activation = Activation(node.attribute("activation", ""), parameters)
    stored = stored_gemm(node)
    if stored is not None:
        return node.bind(nn.Sequential(stored, activation), 0)
    return node.bind(FusedConvolution(computed_gemm(node), activation, adds=False), 0, 1, 2)


@operator("FusedMatMul", since=(1,), domain=MICROSOFT)
@operator("TransposeMatMul", since=(1,), domain=MICROSOFT)
def fused_matmul(node: Node) -> Bound:
    """com.microsoft FusedMatMul-1: MatMul of transposed operands, times alpha."""
    flips = [bool(node.attribute(name, 0)) for name in ("transA", "transB", "transBatchA", "transBatchB")]
    return node.bind(Apply(_fused_matmul, flips=flips, alpha=float(node.attribute("alpha", 1.0))), 0, 1)


def _fused_matmul(a: Tensor, b: Tensor, flips: Sequence[bool], alpha: float) -> Tensor:
    flip_a, flip_b, batch_a, batch_b = flips
    product = torch.matmul(_turned(a, flip_a, batch_a), _turned(b, flip_b, batch_b))
    return product if alpha == 1 else alpha * product


def _turned(x: Tensor, flip: bool, batch: bool) -> Tensor:
    if x.dim() < 2:
        return x
    if batch:
        x = x.movedim(0, -2)
    return x.mT if flip else x
