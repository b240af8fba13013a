from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.graph.outputs import choose_scores
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.trim import trim_to_classifier

Parse = Callable[..., ModelProto]
Draw = Callable[..., Any]

LABELS_ONLY = {
    "arg max": ("int64[B] l", "l = ArgMax<axis = 1, keepdims = 0>(z)", "z"),
    "cast": ("int32[B, 1] l", "i = ArgMax<axis = 1>(z)\n l = Cast<to = 6>(i)", "z"),
    "looked up": ("string[B, 1] l", "i = ArgMax<axis = 1>(z)\n l = Gather(names, i)", "z"),
    "probabilities": ("int64[B, 1] l", "p = Softmax(z)\n l = ArgMax<axis = 1>(p)", "p"),
}


@pytest.mark.parametrize("name", LABELS_ONLY)
def test_scores_behind_a_lone_label_become_an_output(name: str, parse: Parse, draw: Draw) -> None:
    declared, nodes, hidden = LABELS_ONLY[name]
    names = np.array(["a", "b", "c"], dtype=object)
    text = f"g (float[B, 4] x) => ({declared}) {{ z = MatMul(x, w)\n {nodes} }}"
    result, notes = trim_to_classifier(parse(text, w=draw(4, 3), names=names))
    assert [value.name for value in result.graph.output] == ["l", hidden]
    assert notes == (f"scores '{hidden}' made an output: the file gives labels only",)
    assert choose_scores(result) == (hidden, "l")
    assert open_session(result.SerializeToString()).run([hidden], {"x": draw(2, 4)})[0].shape == (2, 3)


def test_scores_given_one_by_one_are_put_together(parse: Parse, draw: Draw) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 1] a, float[B, 1] b) {
             z = MatMul(x, w)
             p = Softmax(z)
             a = ai.onnx.ml.ArrayFeatureExtractor(p, zero)
             b = ai.onnx.ml.ArrayFeatureExtractor(p, one)
        }""",
        ml=1,
        w=draw(4, 2),
        zero=np.array([0]),
        one=np.array([1]),
    )
    result, notes = trim_to_classifier(model)
    assert len(notes) == 1
    assert choose_scores(result)[0] == "p"


def test_inputs_that_scores_do_not_need_go_with_their_outputs(parse: Parse, draw: Draw) -> None:
    nodes = "t = Identity(s)\n y = MatMul(x, w)"
    text = f"g (float[B, 4] x, string[B, 1] s) => (string[B, 1] t, float[B, 3] y) {{ {nodes} }}"
    result, notes = trim_to_classifier(parse(text, w=draw(4, 3)))
    assert [value.name for value in result.graph.input] == ["x"]
    assert [value.name for value in result.graph.output] == ["y"]
    assert len(notes) == 2


def test_a_plain_classifier_is_left_alone(linear: ModelProto, multi_sklearn: ModelProto) -> None:
    for model in (linear, multi_sklearn):
        result, notes = trim_to_classifier(model)
        assert result is model
        assert notes == ()


def test_two_inputs_that_are_both_needed_stay(parse: Parse) -> None:
    model = parse("g (float[B, 3] x, float[B, 3] z) => (float[B, 3] y) { y = Add(x, z) }")
    assert trim_to_classifier(model) == (model, ())
