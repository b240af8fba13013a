"""What one sample costs: multiply-adds counted from shapes, memory a gradient needs, time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from onnx import ModelProto, NodeProto
from torch import Tensor, nn

from cake_onnx.graph.intermediates import inner_values
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.runtime import draw_inputs
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.wiring import RECURRENT, attribute

Shapes = dict[str, tuple[int, ...]]
Rule = Callable[[NodeProto, Sequence[tuple[int, ...]], tuple[int, ...]], int]
"""A node, the shapes of its inputs and of its first output, to multiply-adds."""

_BATCH = 8
_PATIENCE = 0.4
"""Seconds that a measurement may take, more or less."""


@dataclass(frozen=True)
class Cost:
    """Of one sample through a converted teacher, on the processor and with the threads torch uses.

    Attributes:
        multiply_adds: Of products and convolutions; element-wise operators are not counted.
        forward_ms: Milliseconds of a forward pass.
        gradient_ms: Of a forward pass and the gradient of the input.
        batch: Samples in the batches that were timed.
        activation_bytes: What a forward pass keeps for the gradient.
    """

    multiply_adds: int
    forward_ms: float
    gradient_ms: float
    batch: int
    activation_bytes: int


def measure_cost(module: nn.Module, prepared: Prepared, input: InputSpec) -> Cost:
    """Count and time a converted teacher on random inputs.

    Args:
        module: `(B, *shape)` to `(B, K)` logits.
        prepared: What it was converted from.
        input: Its data input.
    """
    x = torch.from_numpy(draw_inputs(input, _BATCH, seed=0))
    single = _forward_seconds(module, x[:1])
    batch = max(1, min(_BATCH, int(_PATIENCE / 8 / max(single, 1e-9))))
    x = x[:batch]
    return Cost(
        multiply_adds(prepared, input),
        1e3 * min(_forward_seconds(module, x) for _ in range(2)) / batch,
        1e3 * min(_gradient_seconds(module, x) for _ in range(2)) / batch,
        batch,
        activation_bytes(module, x[:1]),
    )


def _forward_seconds(module: nn.Module, x: Tensor) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        module(x)
    return time.perf_counter() - start


def _gradient_seconds(module: nn.Module, x: Tensor) -> float:
    point = x.clone().requires_grad_()
    start = time.perf_counter()
    torch.autograd.grad(module(point).sum(), point, allow_unused=True)
    return time.perf_counter() - start


def activation_bytes(module: nn.Module, x: Tensor) -> int:
    """Bytes of the tensors that a forward pass of `x` keeps for the gradient, weights not counted."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = module(x.clone().requires_grad_())
    # The graph must live until all storages were seen, or an address could be used twice.
    del logits
    return sum(kept.values())


def multiply_adds(prepared: Prepared, input: InputSpec) -> int:
    """Multiply-adds of one sample, by the shapes that onnxruntime meets; bodies of loops are not counted."""
    body, size = prepared.body, prepared.fixed_batch or 1
    shapes = _shapes(body, input, size)
    total = sum(_of_node(node, shapes) for node in body.graph.node)
    return round(total / size)


def _shapes(body: ModelProto, input: InputSpec, batch: int) -> Shapes:
    x = draw_inputs(input, batch, seed=0)
    shapes = {name: value.shape for name, value in inner_values(body, input, x).items()}
    stored = {tensor.name: tuple(tensor.dims) for tensor in body.graph.initializer}
    return shapes | stored | {body.graph.input[0].name: x.shape}


def _of_node(node: NodeProto, shapes: Shapes) -> int:
    rule = _RULES.get(node.op_type)
    if rule is None:
        return 0
    return rule(node, [shapes.get(name, ()) for name in node.input], shapes.get(node.output[0], ()))


def _convolution(weight: int) -> Rule:
    def count(node: NodeProto, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
        return math.prod(output) * math.prod(inputs[weight][1:])

    return count


def _transposed(node: NodeProto, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    return math.prod(inputs[0]) * math.prod(inputs[1][1:])


def _product(node: NodeProto, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    if not inputs[0]:
        return 0
    return math.prod(output) * inputs[0][-2 if attribute(node, "transA", 0) else -1]


def _recurrent(node: NodeProto, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    steps = math.prod(inputs[0][:2])  # sequence and batch, in either order
    return steps * (math.prod(inputs[1]) + math.prod(inputs[2]))


def _attention(node: NodeProto, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """Weights of queries and keys, then the values under them: each (queries, keys, width)."""
    keys = inputs[1][-2] if len(inputs) > 1 and len(inputs[1]) > 2 else inputs[0][-2]
    projected = math.prod(inputs[0]) * inputs[1][-1] if len(inputs) > 1 and len(inputs[1]) == 2 else 0
    return 2 * math.prod(output) * keys + projected


def _einsum(node: NodeProto, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    equation = str(attribute(node, "equation", "")).replace(" ", "").partition("->")[0]
    if "." in equation or len(inputs) < 2:
        return math.prod(output)
    letters = zip("".join(equation.split(",")), [size for shape in inputs for size in shape], strict=False)
    return math.prod(dict(letters).values())


def _numbers(values: object) -> int:
    return int(np.size(np.asarray(values)))


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv", "ConvInteger", "FusedConv"), _convolution(1)),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed,
    **dict.fromkeys(("Gemm", "MatMul", "MatMulInteger", "FusedMatMul", "QLinearMatMul", "QGemm"), _product),
    **dict.fromkeys(("FusedGemm", "GemmFastGelu", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"), _product),
    **dict.fromkeys(RECURRENT, _recurrent),
    **dict.fromkeys(("Attention", "MultiHeadAttention"), _attention),
    "LinearClassifier": lambda node, inputs, output: _numbers(attribute(node, "coefficients", [])),
    "Einsum": _einsum,
}
