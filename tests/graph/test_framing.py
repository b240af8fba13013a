from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.graph.framing import batch_in_front, batch_second
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.wiring import dims_of

Parse = Callable[..., ModelProto]


def _last_step(parse: Parse, draw: Callable[..., Any], declared: str, out: str) -> ModelProto:
    """The last of five steps, through a matrix: what a recurrent classifier does with its steps in front."""
    return parse(
        f"""g (float[{declared}] x) => (float[{out}] y) {{
             last = Gather<axis = 0>(x, index)
             y = MatMul(last, w)
        }}""",
        index=np.array(-1, dtype=np.int64),
        w=draw(4, 3),
    )


@pytest.mark.parametrize(
    ("declared", "out", "second"),
    [
        ("5, 7, 4", "7, 3", True),
        ("5, N, 4", "N, 3", True),
        ("7, 5, 4", "7, 3", False),
        ("N, 5, 4", "N, 3", False),
        ("5, 1, 4", "1, 3", False),
        ("T, 7, 4", "M, 3", False),
    ],
)
def test_the_output_tells_where_the_batch_is(
    declared: str, out: str, second: bool, parse: Parse, draw: Callable[..., Any]
) -> None:
    assert batch_second(_last_step(parse, draw, declared, out)) is second


def test_the_batch_comes_to_the_front(parse: Parse, draw: Callable[..., Any]) -> None:
    model = _last_step(parse, draw, "5, N, 4", "N, 3")
    turned = batch_in_front(model)
    assert dims_of(turned.graph.input[0]) == ["N", 5, 4]
    assert dims_of(model.graph.input[0]) == [5, "N", 4], "the model given is not changed"
    x = draw(2, 5, 4)
    (wanted,) = open_session(model.SerializeToString()).run(None, {"x": x.transpose(1, 0, 2)})
    (found,) = open_session(turned.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(found, wanted)
