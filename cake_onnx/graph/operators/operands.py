"""Inputs of a node by their position, whether stored in the model, computed, or left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cake_onnx.graph.operators.registry import Bound, Node

_NARROW = (torch.uint8, torch.int8, torch.uint16, torch.int16)


class Operands(nn.Module):
    """A function of all inputs of a node, in graph order, with None for those left out.

    Args:
        function: Called with one argument an input, then with `options`.
        stored: Values of the inputs that the model stores, None for the others.
        computed: Positions of the inputs that arrive at run time, in the order in which they arrive.
        options: Keyword arguments, shown in `repr`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        stored: Sequence[Tensor | None],
        computed: Sequence[int],
        options: dict[str, Any],
    ) -> None:
        super().__init__()
        self._function = function
        self._computed = tuple(computed)
        self._options = options
        self._names = [f"input_{index}" for index in range(len(stored))]
        for name, value in zip(self._names, stored, strict=True):
            self.register_buffer(name, value)

    def forward(self, *tensors: Tensor) -> Any:
        """Apply the function to the stored and the computed inputs."""
        values: list[Tensor | None] = [getattr(self, name) for name in self._names]
        for position, tensor in zip(self._computed, tensors, strict=True):
            values[position] = tensor
        return self._function(*values, **self._options)

    def extra_repr(self) -> str:
        """Name and options of the function."""
        name = getattr(self._function, "__name__", repr(self._function))
        return ", ".join([name, *(f"{key}={value!r}" for key, value in self._options.items())])


def bind_operands(node: Node, function: Callable[..., Any], **options: Any) -> Bound:
    """`function` bound to all inputs of a node; stored whole numbers of up to 16 bits become float32."""
    count = len(node.inputs)
    stored = [_widened(node.constant(index)) for index in range(count)]
    computed = [index for index in range(count) if stored[index] is None and node.has(index)]
    return Bound(
        Operands(function, stored, computed, options), tuple(node.inputs[index] for index in computed)
    )


def _widened(value: Tensor | None) -> Tensor | None:
    return value.to(torch.float32) if value is not None and value.dtype in _NARROW else value
