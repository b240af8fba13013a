"""Sizes, axes and counts that arrive as inputs: stored in the model, or computed from shapes at run time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from cake_onnx.graph.operators.registry import Bound, DeclinedError, Node


def numbers(values: Tensor) -> list[float] | list[int]:
    """A tensor as a flat list; float32 values stay exactly what they are."""
    result: list[float] | list[int] = values.reshape(-1).tolist()
    return result


def whole_numbers(values: Tensor) -> list[int]:
    """A tensor of whole numbers as a flat list; casts may have left them in floats."""
    return [int(value) for value in numbers(values)]


class WithNumbers(nn.Module):
    """A function of tensors and of lists of numbers, which are inputs of the graph as well.

    The numbers must not depend on the data, only on shapes: reading them is not possible under `torch.vmap`.

    Args:
        function: Called with the tensors, then with the lists and `options` by keyword.
        computed: Keyword and reader of the last run-time inputs; those before them stay tensors.
        options: What is known at conversion.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        computed: Mapping[str, Callable[[Tensor], Sequence[float]]],
        options: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._function = function
        self._computed = dict(computed)
        self._options = dict(options)

    def forward(self, *inputs: Tensor) -> Any:
        """Apply the function, with the numbers read from their tensors."""
        tensors = len(inputs) - len(self._computed)
        readers = zip(self._computed.items(), inputs[tensors:], strict=True)
        lists = {name: read(values) for (name, read), values in readers}
        return self._function(*inputs[:tensors], **self._options, **lists)

    def extra_repr(self) -> str:
        """Name and options of the function, and what is read at run time."""
        name = getattr(self._function, "__name__", repr(self._function))
        known = [f"{key}={value!r}" for key, value in self._options.items()]
        return ", ".join([name, *known, *(f"{key}=..." for key in self._computed)])


def bind_numbers(
    node: Node,
    function: Callable[..., Any],
    tensors: Sequence[int],
    lists: Mapping[str, int],
    read: Callable[[Tensor], Sequence[float]] = numbers,
    **options: Any,
) -> Bound:
    """`function` with lists of numbers from inputs of the node.

    Args:
        node: The node.
        function: Called with the tensors, then with the lists and `options` by keyword. The list of an
            optional input that is not given is None.
        tensors: Positions of the inputs that stay tensors; they must be given.
        lists: Keyword of each list and the position of its input.
        read: Makes a list of a tensor.
        options: Further keyword arguments.

    Raises:
        DeclinedError: An input that must be there is missing.
    """
    if not all(node.has(position) for position in tensors):
        raise DeclinedError(f"{node.op_type} without an input that it needs")
    known: dict[str, Any] = dict(options)
    computed: dict[str, int] = {}
    for name, position in lists.items():
        value = node.constant(position)
        if value is not None or not node.has(position):
            known[name] = None if value is None else read(value)
        else:
            computed[name] = position
    names = tuple(node.inputs[position] for position in (*tensors, *computed.values()))
    return Bound(WithNumbers(function, dict.fromkeys(computed, read), known), names)


def bind_integers(
    node: Node, function: Callable[..., Any], tensors: Sequence[int], lists: Mapping[str, int], **options: Any
) -> Bound:
    """`bind_numbers` for lists of integers.

    Raises:
        DeclinedError: An input that must be there is missing.
    """
    return bind_numbers(node, function, tensors, lists, whole_numbers, **options)
