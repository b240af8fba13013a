from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.graph.ending import Ending, find_ending
from cake_onnx.graph.wiring import Wiring

ONE = np.array(1, dtype=np.float32)
PAIR = "p = Sigmoid(s)\n q = Sub(one, p)\n y = Concat<axis = 1>(q, p)"


def _ending(parse: Callable[..., ModelProto], nodes: str, columns: int = 3) -> Ending:
    text = f"g (float[B, {columns}] x) => (float[B, N] y) {{ s = Neg(x)\n {nodes} }}"
    return find_ending(Wiring(parse(text, ml=1, one=ONE).graph), "y")


@pytest.mark.parametrize(
    ("nodes", "activation", "nearest"),
    [
        ("y = Softmax<axis = 1>(s)", "softmax", "s"),
        ("y = LogSoftmax(s)", "log_softmax", "s"),
        ("y = Sigmoid(s)", "sigmoid", "s"),
        ("p = Softmax(s)\n i = Identity(p)\n y = Cast<to = 1>(i)", "softmax", "s"),
        ("y = Relu(s)", "none", "y"),
        ("y = Identity(s)", "none", "y"),
        ("y = Cast<to = 7>(s)", "none", "y"),
    ],
)
def test_the_activation_and_what_it_reads(
    nodes: str, activation: str, nearest: str, parse: Callable[..., ModelProto]
) -> None:
    ending = _ending(parse, nodes)
    assert ending.activation == activation
    assert ending.raw[0] == nearest


def test_shape_only_nodes_are_further_places_to_cut(parse: Callable[..., ModelProto]) -> None:
    assert _ending(parse, "f = Flatten(s)\n y = Softmax(f)").raw == ("f", "s")


def test_a_pair_of_one_probability(parse: Callable[..., ModelProto]) -> None:
    ending = _ending(parse, PAIR, columns=1)
    assert (ending.activation, ending.raw) == ("sigmoid", ("s",))


def test_a_pair_the_other_way_round_is_not_taken_for_one(parse: Callable[..., ModelProto]) -> None:
    ending = _ending(parse, PAIR.replace("(q, p)", "(p, q)"), columns=1)
    assert (ending.activation, ending.raw) == ("none", ("y",))


def test_one_vs_rest(parse: Callable[..., ModelProto]) -> None:
    ending = _ending(parse, 'p = Sigmoid(s)\n y = ai.onnx.ml.Normalizer<norm = "L1">(p)')
    assert (ending.activation, ending.raw) == ("sigmoid", ("s",))


RESCALED = {
    "other operator": "y = LpNormalization<axis = 1, p = 1>(p)",
    "quotient": "t = ReduceSum(p, axis)\n y = Div(p, t)",
    "guarded quotient": (
        "t = ReduceSum(p, axis)\n b = Cast<to = 9>(t)\n n = Not(b)\n g = Cast<to = 1>(n)\n"
        " q = Add(p, g)\n m = Mul(g, one)\n u = Add(t, m)\n y = Div(q, u)"
    ),
    "clipped": "y = Clip(p, zero, one)",
}


@pytest.mark.parametrize("name", RESCALED)
def test_what_rescales_probabilities_is_looked_through(name: str, parse: Callable[..., ModelProto]) -> None:
    text = f"g (float[B, 3] x) => (float[B, 3] y) {{ s = Neg(x)\n p = Sigmoid(s)\n {RESCALED[name]} }}"
    model = parse(text, one=ONE, zero=0 * ONE, axis=np.array([1]))
    ending = find_ending(Wiring(model.graph), "y")
    assert (ending.activation, ending.raw) == ("sigmoid", ("s",))


def test_a_quotient_by_something_else_is_part_of_the_model(parse: Callable[..., ModelProto]) -> None:
    text = "g (float[B, 3] x) => (float[B, 3] y) { p = Sigmoid(x)\n t = ReduceSum(x, axis)\n y = Div(p, t) }"
    assert find_ending(Wiring(parse(text, axis=np.array([1])).graph), "y").activation == "none"


def test_a_softmax_over_the_channels_of_a_single_pixel(parse: Callable[..., ModelProto]) -> None:
    text = "g (float[B, 3, {n}, 1] x) => (float[B, 3, {n}, 1] y) {{ y = Softmax<axis = 1>(x) }}"
    one, two = (find_ending(Wiring(parse(text.format(n=n)).graph), "y") for n in (1, 2))
    assert (one.activation, two.activation) == ("softmax", "none")


def test_a_softmax_over_another_axis_is_part_of_the_model(parse: Callable[..., ModelProto]) -> None:
    text = "g (float[B, 3, 2] x) => (float[B, 3, 2] y) { y = Softmax<axis = 0>(x) }"
    assert find_ending(Wiring(parse(text).graph), "y").activation == "none"


def test_maps_are_looked_through(binary_sklearn: ModelProto) -> None:
    ending = find_ending(Wiring(binary_sklearn.graph), "output_probability")
    assert "output_probability" not in ending.raw
