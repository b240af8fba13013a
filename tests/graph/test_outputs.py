from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.outputs import choose_scores, describe_output

Parse = Callable[..., ModelProto]


def _probe(*rows: list[float]) -> np.ndarray[Any, Any]:
    return np.array(rows, dtype=np.float32)


def test_the_last_of_outputs_made_from_each_other_is_chosen(parse: Parse) -> None:
    model = parse("g (float[B, 3] x) => (float[B, 3] z, float[B, 3] p) { z = Relu(x)\n p = Softmax(z) }")
    assert choose_scores(model) == ("p", None)


def test_an_output_listed_twice_is_one(parse: Parse) -> None:
    model = parse("g (float[B, 3] x) => (float[B, 3] z, float[B, 3] z) { z = Relu(x) }")
    assert choose_scores(model) == ("z", None)


@pytest.mark.parametrize(
    ("outputs", "nodes"),
    [
        ("float[B, 3] a, float[B, 3] b", "a = Relu(x)\n b = Neg(x)"),
        ("int64[B] a", "a = ArgMax<axis = 1, keepdims = 0>(x)"),
    ],
)
def test_no_single_score_output_is_refused_by_name(outputs: str, nodes: str, parse: Parse) -> None:
    with pytest.raises(UnsupportedTeacherError, match="'a'"):
        choose_scores(parse(f"g (float[B, 3] x) => ({outputs}) {{ {nodes} }}"))


SEVERAL = {
    "one is the input given back": ("float[B, 3] a, float[B, 3] b", "a = Identity(x)\n b = Neg(x)", "b"),
    "the label is taken from one": (
        "float[B, 3] a, float[B, 3] b, int64[B] l",
        "a = Relu(x)\n b = Neg(x)\n l = ArgMax<axis = 1, keepdims = 0>(b)",
        "b",
    ),
    "only one has two axes": ("float[B, 3, 1] a, float[B, 3] b", "a = Unsqueeze(x, two)\n b = Neg(x)", "b"),
    "the name says it": (
        "float[B, 3] features, float[B, 3] My_Logits",
        "features = Relu(x)\n My_Logits = Neg(x)",
        "My_Logits",
    ),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_the_scores_among_several_outputs(name: str, parse: Parse) -> None:
    outputs, nodes, chosen = SEVERAL[name]
    model = parse(f"g (float[B, 3] x) => ({outputs}) {{ {nodes} }}", two=np.array([2]))
    assert choose_scores(model)[0] == chosen


def test_kinds(linear: ModelProto, softmax_net: ModelProto, sigmoid_net: ModelProto) -> None:
    wild = _probe([2.0, -1.0, 0.5])
    assert describe_output(linear, "y", None, wild).kind == "logits"
    assert describe_output(softmax_net, "p", None, wild).kind == "probabilities"
    single = describe_output(sigmoid_net, "p", None, _probe([0.3]))
    assert (single.kind, single.classes) == ("probabilities", 2)


def test_a_softmax_written_by_hand_is_known_by_its_values(linear: ModelProto) -> None:
    assert (
        describe_output(linear, "y", None, _probe([0.2, 0.3, 0.5], [1.0, 0.0, 0.0])).kind == "probabilities"
    )


def test_log_probabilities_count_as_logits(parse: Parse) -> None:
    model = parse("g (float[B, 3] x) => (float[B, 3] y) { y = LogSoftmax<axis = 1>(x) }")
    assert describe_output(model, "y", None, _probe([-1.0, -2.0, -0.5])).kind == "logits"


def test_regression_and_single_class_are_refused(linear: ModelProto, parse: Parse) -> None:
    with pytest.raises(UnsupportedTeacherError, match="one number a sample, as of a regression"):
        describe_output(linear, "y", None, _probe([0.3]))
    one = parse("g (float[B, 1] x) => (float[B, 1] y) { y = Softmax<axis = 1>(x) }")
    with pytest.raises(UnsupportedTeacherError, match="one class"):
        describe_output(one, "y", None, _probe([1.0]))


def test_a_last_branch_is_named(parse: Parse) -> None:
    """As in a detector of wake words that asks a second network only when the first one is sure."""
    model = parse(
        """g (float[1, 1] x) => (float[1, 1] y) {
             p = Sigmoid(x)
             half = Constant<value = float {0.5}>()
             sure = Greater(p, half)
             y = If (sure) <
               then_branch = a () => (float[1, 1] q) { q = Sigmoid(p) },
               else_branch = b () => (float[1, 1] r) { r = Identity(p) }
             >
        }"""
    )
    with pytest.raises(UnsupportedTeacherError, match=r"If .*which of its branches runs depends on the data"):
        describe_output(model, "y", None, _probe([0.3]))


def test_names_come_from_the_map(multi_sklearn: ModelProto) -> None:
    scores, label = choose_scores(multi_sklearn)
    output = describe_output(multi_sklearn, scores, label, _probe([0.2, 0.3, 0.5]))
    assert output.kind == "label+probabilities"
    assert output.label == "output_label"
    assert output.class_names == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('["a", "b", "c"]', ("a", "b", "c")),
        ("{0: 'a', 1: 'b', 2: 'c'}", ("a", "b", "c")),
        ('["a", "b"]', None),
        ("a, b, c", None),
        ("[1, 2, 3]", None),
    ],
)
def test_names_come_from_metadata(text: str, names: tuple[str, ...] | None, linear: ModelProto) -> None:
    linear.metadata_props.add(key="names", value=text)
    assert describe_output(linear, "y", None, _probe([2.0, 0.0, 1.0])).class_names == names


def test_names_come_from_the_label_table(parse: Parse) -> None:
    model = parse(
        """g (float[B, 3] x) => (int64[B] label, float[B, 3] p) {
             p = Softmax<axis = 1>(x)
             i = ArgMax<axis = 1, keepdims = 0>(p)
             label = Gather(table, i)
        }""",
        table=np.array([10, 20, 30], dtype=np.int64),
    )
    assert describe_output(model, "p", "label", _probe([0.2, 0.3, 0.5])).class_names == ("10", "20", "30")
