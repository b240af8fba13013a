from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

Compare = Callable[..., Any]
Draw = Callable[..., Any]


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.int64)


def same(model: Any, x: np.ndarray[Any, Any]) -> None:
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    point = torch.from_numpy(x).requires_grad_()
    found = convert_graph(model)(point)
    np.testing.assert_allclose(found.detach(), wanted, rtol=1e-6)
    if found.requires_grad:
        (slope,) = torch.autograd.grad(found.square().sum(), point)
        assert slope.abs().sum() > 0


@pytest.mark.parametrize(
    ("sizes", "keep"),
    [
        (None, 0),
        (None, 1),
        (ints(1, 1, 1, 1, 1), 0),
        (ints(1, 4), 0),
        (np.array(1), 0),
        (np.array(2), 1),
        (ints(1, 4), 1),
    ],
)
@pytest.mark.parametrize("position", [0, 1, -1])
def test_a_piece_of_a_split(
    sizes: Any, keep: int, position: int, parse: Callable[..., Any], draw: Draw
) -> None:
    stored = {} if sizes is None else {"sizes": sizes}
    model = parse(
        f"""g (float[2, 5] x) => (float y) {{
             s = SplitToSequence<axis = 1, keepdims = {keep}>(x{", sizes" if stored else ""})
             y = SequenceAt(s, i)
        }}""",
        i=np.array(position), **stored,
    )  # fmt: skip
    # A declared output without a shape would be a scalar.
    model.graph.output[0].type.tensor_type.ClearField("shape")
    same(model, draw(2, 5))


@pytest.mark.parametrize("new", [0, 1])
def test_put_together_again(new: int, parse: Callable[..., Any], draw: Draw) -> None:
    model = parse(
        f"""g (float[2, 3] x) => (float y) {{
             a = Relu(x)
             s = SequenceConstruct(x, a, x)
             t = SequenceErase(s, first)
             u = SequenceInsert(t, a, first)
             v = SequenceInsert(u, x)
             w = SequenceErase(v)
             y = ConcatFromSequence<axis = -1, new_axis = {new}>(w)
        }}""",
        first=np.array(0),
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    same(model, draw(2, 3))


def test_from_nothing_and_its_length(parse: Callable[..., Any], draw: Draw) -> None:
    model = parse(
        """g (float[2, 3] x) => (float[2, 3] y) {
             e = SequenceEmpty<dtype = 1>()
             s = SequenceInsert(e, x)
             n = SequenceLength(s)
             f = Cast<to = 1>(n)
             t = SequenceAt(s, zero)
             y = Add(t, f)
        }""",
        zero=np.array(0),
    )
    same(model, draw(2, 3))


@pytest.mark.parametrize(
    ("split", "reason"),
    [
        ("c = Cast<to = 7>(x)  s = SplitToSequence(x, c)", "SplitToSequence with computed sizes"),
        ("s = SplitToSequence<keepdims = 0>(x, two)", "SplitToSequence into pieces of 2 with keepdims=0"),
    ],
)
def test_what_is_declined(split: str, reason: str, parse: Callable[..., Any]) -> None:
    model = parse(
        f"g (float[5] x) => (float[N] y) {{ {split}  y = SequenceAt(s, zero) }}",
        zero=np.array(0), two=np.array(2),
    )  # fmt: skip
    with pytest.raises(UnsupportedTeacherError, match=reason):
        convert_graph(model)
