"""RNN, GRU, LSTM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.fused_recurrent import QUICK, Quick
from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.recurrence import (
    Activation,
    States,
    Step,
    arrange,
    clipped,
    gru_step,
    lstm_step,
    read_activations,
    rnn_step,
    walk,
)
from cake_onnx.graph.operators.registry import Bound, DeclinedError, Node, operator

Cell = Callable[[Tensor, Tensor, Sequence[Activation], Tensor | None], Step]
"""From recurrent weight, recurrent bias, activations and peephole of one direction to its step."""

_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


@dataclass(frozen=True)
class Layer:
    """What a recurrent node computes besides its tensors.

    Attributes:
        cell: Makes the step of one direction.
        states: Number of states: 1, or 2 where there is a cell state beside h.
        functions: Activations of each direction.
        reverse: For each direction, whether it walks from the end.
        batch_first: The batch is the first axis of all inputs and outputs (`layout` 1).
        outputs: How many of Y, Y_h, Y_c the node has.
        quick: torch's own layer, where it computes the same.
    """

    cell: Cell
    states: int
    functions: tuple[tuple[Activation, ...], ...]
    reverse: tuple[bool, ...]
    batch_first: bool
    outputs: int
    quick: Quick | None


@operator("RNN", since=(1, 7, 14, 22))
def rnn(node: Node) -> Bound:
    """ONNX RNN-22."""
    return _bind(node, lambda r, b, f, _: rnn_step(r, b, f), 1, ["Tanh"])


@operator("GRU", since=(1, 3, 7, 14, 22))
def gru(node: Node) -> Bound:
    """ONNX GRU-22, with both places of the reset gate."""
    linear_first = bool(node.attribute("linear_before_reset", 0))
    return _bind(
        node, lambda r, b, f, _: gru_step(r, b, f, linear_first=linear_first), 1, ["Sigmoid", "Tanh"]
    )


@operator("LSTM", since=(1, 7, 14, 22))
def lstm(node: Node) -> Bound:
    """ONNX LSTM-22, with peepholes and coupled gates."""
    coupled = bool(node.attribute("input_forget", 0))
    return _bind(
        node, lambda r, b, f, p: lstm_step(r, b, f, p, coupled=coupled), 2, ["Sigmoid", "Tanh", "Tanh"]
    )


def _bind(node: Node, cell: Cell, states: int, default: list[str]) -> Bound:
    # The size follows from the weights; version 1 could leave Y out, which is seen from the outputs read.
    node.ignore("hidden_size", "output_sequence")
    direction = node.attribute("direction", "forward")
    if direction not in _DIRECTIONS:
        raise DeclinedError(f"the direction {direction}")
    reverse = _DIRECTIONS[direction]
    layer = Layer(
        cell,
        states,
        _functions(node, default, len(reverse)),
        reverse,
        batch_first=node.attribute("layout", 0) == 1,
        outputs=node.outputs,
        quick=_quick(node, default),
    )
    return bind_operands(node, _layer, layer=layer)


def _quick(node: Node, default: list[str]) -> Quick | None:
    names = [name.lower() for name in node.attribute("activations") or default]
    size = len(default)
    same = all(names[i : i + size] == names[:size] for i in range(0, len(names), size))
    # Lengths and peepholes are known to the walk only.
    if not same or node.attribute("clip") is not None or node.has(4) or node.has(7):
        return None
    if node.op_type == "GRU" and not node.attribute("linear_before_reset", 0):
        return None
    if node.op_type == "LSTM" and node.attribute("input_forget", 0):
        return None
    return QUICK.get((node.op_type, *names[:size]))


def _functions(node: Node, default: list[str], directions: int) -> tuple[tuple[Activation, ...], ...]:
    names = node.attribute("activations") or default * directions
    if len(names) != len(default) * directions:
        raise DeclinedError(f"{len(names)} activations for {directions} directions")
    functions = read_activations(
        names, node.attribute("activation_alpha", []), node.attribute("activation_beta", [])
    )
    clip, size = node.attribute("clip"), len(default)
    # onnxruntime does not clip what goes into the last function of an LSTM, the cell.
    count = size - 1 if node.op_type == "LSTM" else size
    functions = [
        clipped(function, clip if i % size < count else None) for i, function in enumerate(functions)
    ]
    return tuple(tuple(functions[i * size : (i + 1) * size]) for i in range(directions))


def _layer(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    peephole: Tensor | None = None,
    *,
    layer: Layer,
) -> Tensor | tuple[Tensor, ...]:
    x = x.transpose(0, 1) if layer.batch_first else x
    starts = [initial_h, initial_c][: layer.states]
    if layer.batch_first:
        starts = [None if start is None else start.transpose(0, 1) for start in starts]
    size = (len(layer.reverse), x.shape[1], r.shape[-1])
    states = tuple(x.new_zeros(size) if start is None else start.expand(size) for start in starts)
    biases = x.new_zeros(len(w), 2 * w.shape[1]) if b is None else b
    done = None if layer.quick is None else layer.quick(x, w, r, biases, states, reverse=layer.reverse)
    if done is None:
        done = _step_by_step(x, w, r, biases, states, lengths, peephole, layer)
    return arrange(*done, batch_first=layer.batch_first, outputs=layer.outputs)


def _step_by_step(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    biases: Tensor,
    states: States,
    lengths: Tensor | None,
    peephole: Tensor | None,
    layer: Layer,
) -> tuple[Tensor, States]:
    sequences, ends = [], []
    for i, reverse in enumerate(layer.reverse):
        on_input, on_state = biases[i].chunk(2)
        step = layer.cell(r[i], on_state, layer.functions[i], None if peephole is None else peephole[i])
        start = tuple(state[i] for state in states)
        sequence, last = walk(functional.linear(x, w[i], on_input), start, step, lengths, reverse=reverse)
        sequences.append(sequence)
        ends.append(last)
    return torch.stack(sequences, dim=1), tuple(torch.stack(state) for state in zip(*ends, strict=True))
