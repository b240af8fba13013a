"""One recurrent layer step by step: cells, their activations, and the walk along the sequence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.registry import DeclinedError

Activation = Callable[[Tensor], Tensor]
States = tuple[Tensor, ...]
Step = Callable[[Tensor, States], States]
"""From the projected input of one step `(B, G * H)` and the states `(B, H)`, h first, to the next states."""

_SAID = math.nan
"""No default: onnxruntime and the specification differ in it, so the node has to say the value."""

_PARAMETERS: dict[str, tuple[float | None, float | None]] = {
    "relu": (None, None),
    "tanh": (None, None),
    "sigmoid": (None, None),
    "softsign": (None, None),
    "softplus": (None, None),
    "affine": (_SAID, _SAID),
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (_SAID, None),
    "scaledtanh": (_SAID, _SAID),
    "hardsigmoid": (0.2, 0.5),
    "elu": (1.0, None),
}
"""Defaults of alpha and beta, None where a function takes none."""


def read_activations(
    names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]
) -> list[Activation]:
    """The functions of all gates in order; each takes its alpha and beta from the front of the lists.

    Raises:
        DeclinedError: A function is unknown, or values are left over.
    """
    alpha, beta = iter(alphas), iter(betas)
    functions = [_read_activation(name, alpha, beta) for name in names]
    if next(alpha, None) is not None or next(beta, None) is not None:
        raise DeclinedError("more values for activations than the activations take")
    return functions


def clipped(function: Activation, clip: float | None) -> Activation:
    """The function of its input held between `-clip` and `clip`."""
    return function if clip is None else lambda x: function(x.clamp(-clip, clip))


def _read_activation(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    if name.lower() not in _PARAMETERS:
        raise DeclinedError(f"the activation {name}")
    defaults = _PARAMETERS[name.lower()]
    alpha = None if defaults[0] is None else next(alphas, defaults[0])
    beta = None if defaults[1] is None else next(betas, defaults[1])
    if math.isnan((alpha or 0.0) + (beta or 0.0)):
        raise DeclinedError(f"the activation {name} without its alpha or beta")
    return _activation(name.lower(), alpha or 0.0, beta or 0.0)


def _activation(name: str, alpha: float, beta: float) -> Activation:
    functions: dict[str, Activation] = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softsign": functional.softsign,
        "softplus": functional.softplus,
        "affine": lambda x: alpha * x + beta,
        "leakyrelu": lambda x: torch.where(x >= 0, x, alpha * x),
        "thresholdedrelu": lambda x: torch.where(x > alpha, x, torch.zeros_like(x)),
        "scaledtanh": lambda x: alpha * torch.tanh(beta * x),
        "hardsigmoid": lambda x: (alpha * x + beta).clamp(0.0, 1.0),
        "elu": lambda x: functional.elu(x, alpha),
    }
    return functions[name]


def rnn_step(weight: Tensor, bias: Tensor, functions: Sequence[Activation]) -> Step:
    """`H' = f(x W + H R)` with the recurrent weight `(H, H)` and bias `(H,)`."""
    (f,) = functions

    def step(projected: Tensor, states: States) -> States:
        return (f(projected + functional.linear(states[0], weight, bias)),)

    return step


def gru_step(weight: Tensor, bias: Tensor, functions: Sequence[Activation], *, linear_first: bool) -> Step:
    """Gated recurrent unit with the recurrent weight `(3 H, H)`, gates in the order z, r, h.

    Args:
        weight: Recurrent weight.
        bias: Recurrent bias `(3 H,)`.
        functions: f of the gates z and r, g of the candidate.
        linear_first: The reset gate comes after the product with the recurrent weight.
    """
    f, g = functions
    size = weight.shape[-1]
    gates_weight, candidate_weight = weight[: 2 * size], weight[2 * size :]
    gates_bias, candidate_bias = bias[: 2 * size], bias[2 * size :]

    def step(projected: Tensor, states: States) -> States:
        (h,) = states
        gates = projected[..., : 2 * size] + functional.linear(h, gates_weight, gates_bias)
        update, reset = f(gates).chunk(2, dim=-1)
        if linear_first:
            recurrent = reset * functional.linear(h, candidate_weight, candidate_bias)
        else:
            recurrent = functional.linear(reset * h, candidate_weight, candidate_bias)
        candidate = g(projected[..., 2 * size :] + recurrent)
        return ((1 - update) * candidate + update * h,)

    return step


def lstm_step(
    weight: Tensor,
    bias: Tensor,
    functions: Sequence[Activation],
    peephole: Tensor | None,
    *,
    coupled: bool,
) -> Step:
    """Long short-term memory with the recurrent weight `(4 H, H)`, gates in the order i, o, f, c.

    Args:
        weight: Recurrent weight.
        bias: Recurrent bias `(4 H,)`.
        functions: f of the gates, g of the candidate, h of the cell.
        peephole: What the cell adds to the gates i, o, f: `(3 H,)`.
        coupled: The forget gate is `1 - i`.
    """
    f, g, h = functions
    p_i, p_o, p_f = (0.0, 0.0, 0.0) if peephole is None else peephole.chunk(3)

    def step(projected: Tensor, states: States) -> States:
        hidden, cell = states
        gates = projected + functional.linear(hidden, weight, bias)
        i, o, forget, candidate = gates.chunk(4, dim=-1)
        i = f(i + p_i * cell)
        forget = 1 - i if coupled else f(forget + p_f * cell)
        cell = forget * cell + i * g(candidate)
        return f(o + p_o * cell) * h(cell), cell

    return step


def walk(
    projected: Tensor, states: States, step: Step, lengths: Tensor | None, *, reverse: bool
) -> tuple[Tensor, States]:
    """Apply a step along a sequence.

    Args:
        projected: Inputs times their weight `(T, B, G * H)`.
        states: What to begin with, each `(B, H)`.
        step: The cell.
        lengths: Steps of each sample `(B,)`: beyond them outputs are 0 and states stay.
        reverse: From the end to the beginning; the outputs keep their places.

    Returns:
        Outputs `(T, B, H)` and the last states.
    """
    count = len(projected)
    outputs: list[Tensor] = [projected] * count
    for t in reversed(range(count)) if reverse else range(count):
        after = step(projected[t], states)
        if lengths is None:
            states, outputs[t] = after, after[0]
            continue
        inside = (lengths > t).unsqueeze(-1)
        states = tuple(torch.where(inside, new, old) for new, old in zip(after, states, strict=True))
        outputs[t] = torch.where(inside, after[0], torch.zeros_like(after[0]))
    if lengths is not None:
        # onnxruntime ends in zeros where a sample has no steps, whatever it began with.
        some = (lengths > 0).unsqueeze(-1)
        states = tuple(torch.where(some, state, torch.zeros_like(state)) for state in states)
    return torch.stack(outputs), states


def arrange(
    sequence: Tensor, states: Sequence[Tensor], *, batch_first: bool, outputs: int
) -> Tensor | tuple[Tensor, ...]:
    """Outputs of a node from `(T, D, B, H)` and states `(D, B, H)`, in the layout and number it has."""
    if batch_first:
        sequence = sequence.permute(2, 0, 1, 3)
        states = [state.transpose(0, 1) for state in states]
    return sequence if outputs == 1 else (sequence, *states)[:outputs]
