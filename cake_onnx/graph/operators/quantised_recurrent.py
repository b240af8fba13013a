"""com.microsoft DynamicQuantizeLSTM, which onnxruntime's dynamic quantiser writes for LSTM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.quantisation import dynamic_quantize, shifted
from cake_onnx.graph.operators.recurrence import (
    Activation,
    States,
    Step,
    arrange,
    lstm_step,
    read_activations,
    walk,
)
from cake_onnx.graph.operators.registry import MICROSOFT, Bound, DeclinedError, Node, operator

_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_GATES = ("Sigmoid", "Tanh", "Tanh")


@operator("DynamicQuantizeLSTM", since=(1,), domain=MICROSOFT)
def dynamic_quantize_lstm(node: Node) -> Bound:
    """com.microsoft DynamicQuantizeLSTM-1: input and hidden state are quantised before each product."""
    node.ignore("hidden_size")  # the weights say it
    direction = node.attribute("direction", "forward")
    if direction not in _DIRECTIONS:
        raise DeclinedError(f"the direction {direction}")
    reverse = _DIRECTIONS[direction]
    names = node.attribute("activations") or list(_GATES) * len(reverse)
    if [name.lower() for name in names] != [name.lower() for name in _GATES] * len(reverse):
        raise DeclinedError(f"the activations {names}")
    if node.has(7) or node.attribute("clip") is not None or node.attribute("input_forget", 0):
        raise DeclinedError("peepholes, clipping or coupled gates")
    node.ignore("activation_alpha", "activation_beta")  # these three take none
    return bind_operands(
        node,
        _layer,
        functions=tuple(read_activations(_GATES, [], [])),
        reverse=reverse,
        outputs=node.outputs,
    )


def _layer(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    initial_h: Tensor | None,
    initial_c: Tensor | None,
    peephole: None,
    w_scale: Tensor,
    w_zero: Tensor,
    r_scale: Tensor,
    r_zero: Tensor,
    *,
    functions: Sequence[Activation],
    reverse: tuple[bool, ...],
    outputs: int,
) -> Tensor | tuple[Tensor, ...]:
    inner, outer = _weights(w, w_scale, w_zero), _weights(r, r_scale, r_zero)
    size = (len(reverse), x.shape[1], r.shape[1])
    starts = [x.new_zeros(size) if start is None else start for start in (initial_h, initial_c)]
    biases = x.new_zeros(len(reverse), 2 * inner.shape[1]) if b is None else b
    sequences, ends = [], []
    for i, backwards in enumerate(reverse):
        on_input, on_state = biases[i].chunk(2)
        step = _on_grid(lstm_step(outer[i], on_state, functions, None, coupled=False))
        projected = functional.linear(_rounded(x), inner[i], on_input)
        start = tuple(state[i] for state in starts)
        sequence, last = walk(projected, start, step, lengths, reverse=backwards)
        sequences.append(sequence)
        ends.append(last)
    states = tuple(torch.stack(state) for state in zip(*ends, strict=True))
    return arrange(torch.stack(sequences, dim=1), states, batch_first=False, outputs=outputs)


def _weights(whole: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Weights `(D, 4 H, I)` in floats from whole numbers `(D, I, 4 H)`, their scales `(D,)` or `(D, 4 H)`."""
    directions = len(whole)
    real = shifted(whole, zero.reshape(directions, 1, -1)) * scale.reshape(directions, 1, -1)
    return real.transpose(1, 2)


def _on_grid(step: Step) -> Step:
    """The step with its hidden state quantised as it comes in."""

    def rounded(projected: Tensor, states: States) -> States:
        hidden, cell = states
        return step(projected, (_rounded(hidden), cell))

    return rounded


def _rounded(x: Tensor) -> Tensor:
    """What is left of a tensor after it was quantised to 8 bits over its own range."""
    whole, scale, zero = dynamic_quantize(x)
    return (whole - zero) * scale
