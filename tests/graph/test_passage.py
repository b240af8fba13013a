from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.passage import refuse_without_passage

Parse = Callable[..., ModelProto]


def test_a_tree_written_as_comparisons_is_named(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 3] y) {
             s = Shape(x)
             picked = Gather<axis = 1>(x, feature)
             left = Less(picked, threshold)
             one = Cast<to = 1>(left)
             y = MatMul(one, leaves)
        }""",
        feature=np.array([1, 3]),
        threshold=draw(2),
        leaves=draw(2, 3),
    )
    model.graph.node[2].name = "first split"
    with pytest.raises(UnsupportedTeacherError, match=r"Less .*'first split'.*small change"):
        refuse_without_passage(model)


def test_places_of_the_nearest_carry_no_gradient_but_their_values_do(
    parse: Parse, draw: Callable[..., Any]
) -> None:
    text = """g (float[B, 4] x) => (float[B, 2] y) {
         near, places = TopK(x, k)
         y = RESULT
    }"""
    k = np.array([2])
    refuse_without_passage(parse(text.replace("RESULT", "Neg(near)"), k=k))
    with pytest.raises(UnsupportedTeacherError, match="TopK"):
        refuse_without_passage(
            parse(text.replace("RESULT", "Gather<axis = 0>(table, places)"), k=k, table=draw(4))
        )


def test_one_path_that_computes_is_enough(parse: Parse) -> None:
    refuse_without_passage(
        parse(
            """g (float[B, 4] x) => (float[B, 4] y) {
                 positive = Greater(x, zero)
                 y = Where(positive, x, zero)
            }""",
            zero=np.zeros(1, dtype=np.float32),
        )
    )
