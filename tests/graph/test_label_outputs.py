from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.classifiers import spell_out_classifiers
from cake_onnx.graph.cut import choose_tensor
from cake_onnx.graph.ending import find_ending
from cake_onnx.graph.label_outputs import follow_scores
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.wiring import Wiring

Parse = Callable[..., ModelProto]
Draw = Callable[..., Any]

ELSEWHERE = (
    "z = MatMul(x, w)\n i = ArgMax<axis = 1, keepdims = 1>(z)\n l = Gather(t, i)\n e = Exp(z)\n y = Sqrt(e)"
)
TABLES = {"int64": np.array([30, 10, 20]), "string": np.array(["c", "a", "b"], dtype=object)}


def _followed(model: ModelProto) -> tuple[ModelProto, tuple[str, ...]]:
    input, output = read_signature(model)
    result, notes = follow_scores(model, model, input, output)
    wiring = Wiring(result.graph)
    choose_tensor(wiring, find_ending(wiring, output.scores))
    return result, notes


@pytest.mark.parametrize("kind", TABLES)
def test_a_label_made_from_another_tensor_is_looked_up_by_the_best_score(
    kind: str, parse: Parse, draw: Draw
) -> None:
    text = f"g (float[B, 4] x) => (float[B, 3] y, {kind}[B, 1] l) {{ {ELSEWHERE} }}"
    model = parse(text, w=draw(4, 3), t=TABLES[kind])
    result, notes = _followed(model)
    assert notes == ()
    assert [value.name for value in result.graph.output] == ["y", "l"]
    x = draw(50, 4)
    wanted, found = (open_session(m.SerializeToString()).run(["l"], {"x": x})[0] for m in (model, result))
    assert found.tolist() == wanted.tolist()


def test_what_follows_already_is_left_alone(multi_sklearn: ModelProto) -> None:
    input, output = read_signature(multi_sklearn)
    plain = spell_out_classifiers(multi_sklearn)
    assert follow_scores(plain, multi_sklearn, input, output) == (plain, ())


def test_a_label_of_other_scores_is_refused_by_name(parse: Parse, draw: Draw) -> None:
    nodes = "y = MatMul(x, w)\n z = MatMul(x, v)\n l = ArgMax<axis = 1, keepdims = 0>(z)"
    text = f"g (float[B, 4] x) => (float[B, 3] y, int64[B] l) {{ {nodes} }}"
    with pytest.raises(UnsupportedTeacherError, match="'l', which names other classes"):
        _followed(parse(text, w=draw(4, 3), v=-draw(4, 3)))


def test_features_are_left_out_and_said(parse: Parse, draw: Draw) -> None:
    nodes = "m = MatMul(x, v)\n h = Relu(m)\n y = MatMul(h, w)"
    text = f"g (float[B, 4] x) => (float[B, 5] h, float[B, 3] y) {{ {nodes} }}"
    result, notes = _followed(parse(text, v=draw(4, 5), w=draw(5, 3)))
    assert [value.name for value in result.graph.output] == ["y"]
    assert notes == ("output 'h' left out: it does not follow from the scores",)


def test_the_lower_of_two_scores_may_be_the_one_that_is_named(parse: Parse, draw: Draw) -> None:
    nodes = "y = MatMul(x, w)\n v2 = Neg(w)\n z = MatMul(x, v2)\n l = ArgMax<axis = 1, keepdims = 0>(z)"
    text = f"g (float[B, 4] x) => (float[B, 2] y, int64[B] l) {{ {nodes} }}"
    model = parse(text, w=draw(4, 2))
    result, notes = _followed(model)
    assert notes == ()
    x = draw(50, 4)
    wanted, found = (open_session(m.SerializeToString()).run(["l"], {"x": x})[0] for m in (model, result))
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("zero", [0.0, 1.5])
def test_one_number_is_two_classes_only_if_the_label_says_so(zero: float, parse: Parse, draw: Draw) -> None:
    nodes = "s = MatMul(x, w)\n b = Greater(s, zero)\n l = Cast<to = 7>(b)"
    text = f"g (float[B, 4] x) => (float[B, 1] s, int64[B, 1] l) {{ {nodes} }}"
    model = parse(text, w=draw(4, 1), zero=np.array(zero, dtype=np.float32))
    if zero == 0:
        assert _followed(model)[1] == ()
    else:
        with pytest.raises(UnsupportedTeacherError, match="'l'"):
            _followed(model)


def test_a_wrong_declaration_of_the_scores_is_corrected(parse: Parse, draw: Draw) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 5] y) {
             z = MatMul(x, w)
             y = ai.onnx.ml.ArrayFeatureExtractor(z, places)
        }""",
        ml=1,
        w=draw(4, 3),
        places=np.array([0, 2, 1]),
    )
    assert Wiring(_followed(model)[0].graph).dims("y") == ["B", 3]
