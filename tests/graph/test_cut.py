from __future__ import annotations

from collections.abc import Callable

import pytest
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.cut import choose_relation, choose_tensor, tail_nodes, take_body, take_tail
from cake_onnx.graph.ending import Ending, find_ending
from cake_onnx.graph.specs import OutputKind, OutputSpec
from cake_onnx.graph.wiring import Wiring


def _output(kind: OutputKind, classes: int = 3) -> OutputSpec:
    return OutputSpec("p", None, kind, classes, None)


def test_body_and_tail_share_one_tensor(softmax_net: ModelProto) -> None:
    body, tail = take_body(softmax_net, "z"), take_tail(softmax_net, "z")
    assert [node.op_type for node in body.graph.node] == ["Gemm", "Relu", "Gemm"]
    assert [node.op_type for node in tail.graph.node] == ["Softmax"]
    assert [value.name for value in body.graph.output] == ["z"] == [value.name for value in tail.graph.input]
    assert len(tail.graph.initializer) == 0


def test_a_model_that_ends_in_logits_has_an_empty_tail(linear: ModelProto) -> None:
    assert take_tail(linear, "y").graph.node == []


def test_the_cut_moves_back_until_all_outputs_follow(parse: Callable[..., ModelProto]) -> None:
    model = parse(
        """g (float[B, 3] x) => (int64[B] label, float[B, 3] p) {
             s = Neg(x)
             f = Flatten(s)
             p = Softmax<axis = 1>(f)
             label = ArgMax<axis = 1, keepdims = 0>(s)
        }"""
    )
    wiring = Wiring(model.graph)
    ending = find_ending(wiring, "p")
    assert ending.raw == ("f", "s")
    assert tail_nodes(wiring, "f")[1] == "label"
    assert choose_tensor(wiring, ending) == "s"


def test_an_output_from_inside_is_named(parse: Callable[..., ModelProto]) -> None:
    model = parse(
        "g (float[B, 3] x) => (float[B, 3] h, float[B, 3] p) { h = Relu(x)\n z = Exp(h)\n p = Softmax(z) }"
    )
    wiring = Wiring(model.graph)
    with pytest.raises(UnsupportedTeacherError, match="output 'h'"):
        choose_tensor(wiring, find_ending(wiring, "p"))


@pytest.mark.parametrize(
    ("activation", "sums", "kind", "columns", "classes", "relation"),
    [
        ("softmax", False, "probabilities", 3, 3, "identity"),
        ("log_softmax", False, "logits", 3, 3, "identity"),
        ("none", False, "logits", 3, 3, "identity"),
        ("none", False, "probabilities", 3, 3, "log"),
        ("sigmoid", False, "probabilities", 1, 2, "one_score"),
        ("sigmoid", False, "probabilities", 3, 3, "identity"),
        ("sigmoid", True, "label+probabilities", 3, 3, "one_vs_rest"),
    ],
)
def test_relations(
    activation: str, sums: bool, kind: OutputKind, columns: int, classes: int, relation: str
) -> None:
    ending = Ending(activation, ("z",))  # type: ignore[arg-type]
    assert choose_relation(ending, _output(kind, classes), columns, sums_to_one=sums) == relation


def test_scores_that_do_not_match_the_classes_are_refused() -> None:
    with pytest.raises(UnsupportedTeacherError, match="3 raw scores"):
        choose_relation(Ending("softmax", ("z",)), _output("probabilities"), 5, sums_to_one=True)
