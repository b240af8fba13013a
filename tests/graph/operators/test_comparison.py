from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize(
    ("op", "opsets"),
    [
        ("Equal", (11, 13, 19)),
        ("Greater", (7, 9, 13)),
        ("Less", (7, 9, 13)),
        ("GreaterOrEqual", (12, 16)),
        ("LessOrEqual", (12, 16)),
    ],
)
def test_comparisons(op: str, opsets: tuple[int, ...], compare: Compare, draw: Draw) -> None:
    x = draw(2, 3, 4).round()
    for opset in opsets:
        for shape in ((4,), (3, 1), ()):
            compare(op, x, np.asarray(draw(*shape), dtype=np.float32).round(), opset=opset, gradient=False)


@pytest.mark.parametrize("op", ["Equal", "Greater", "Less"])
def test_comparisons_before_version_7(op: str, parse: Callable[..., ModelProto], draw: Draw) -> None:
    cast = "f = Cast<to = 6>(x)\n" if op == "Equal" else "f = Identity(x)\n"
    b = np.array([0, 1, -1], dtype=np.int32 if op == "Equal" else np.float32)
    model = parse(
        f"""g (float[2, 3, 4] x) => (bool[2, 3, 4] y) {{
          {cast} y = {op}<broadcast = 1, axis = 1>(f, b)
        }}""",
        opset=6,
        b=b,
    )
    x = draw(2, 3, 4).round()
    wanted = {"Equal": np.equal, "Greater": np.greater, "Less": np.less}[op](x, b.reshape(3, 1))
    assert convert_graph(model)(torch.from_numpy(x)).tolist() == wanted.tolist()


def test_logic_and_choice(parse: Callable[..., ModelProto], draw: Draw) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 4] y) {
          b = Greater(x, zero)
          c = Less(x, many)
          d = And(b, c)
          e = Or(d, b)
          f = Xor(e, c)
          n = Not(f)
          m = Cast<to = 1>(n)
          w = Where(n, x, many)
          y = Add(w, m)
        }""",
        zero=np.array(0, dtype=np.float32),
        many=np.array([0.1, 0.2, -0.3, 0.4], dtype=np.float32),
    )
    x = draw(6, 4)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    point = torch.from_numpy(x).requires_grad_()
    module = convert_graph(model)
    found = module(point)
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-6)
    mapped = torch.vmap(lambda one: module(one[None])[0])(point)
    torch.testing.assert_close(mapped, found)
    (slope,) = torch.autograd.grad(found.sum(), point)
    assert set(slope.unique().tolist()) == {0.0, 1.0}


def test_where_broadcasts_three_ways(parse: Callable[..., ModelProto], draw: Draw) -> None:
    model = parse(
        """g (float[B, 1, 4] x) => (float[B, 3, 4] y) {
          b = Greater(x, limits)
          y = Where(b, x, others)
        }""",
        limits=np.array([[-1.0], [0.0], [1.0]], dtype=np.float32),
        others=draw(4),
    )
    x = draw(2, 1, 4)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    assert convert_graph(model)(torch.from_numpy(x)).tolist() == wanted.tolist()


SPECIAL = np.array([[1.0, np.nan, np.inf, -np.inf]], dtype=np.float32)


def test_not_a_number(compare: Compare) -> None:
    for opset in (9, 13, 20):
        compare("IsNaN", SPECIAL, opset=opset, gradient=False)


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("negative", [0, 1])
def test_infinity(positive: int, negative: int, compare: Compare) -> None:
    for opset in (10, 20):
        compare(
            "IsInf",
            SPECIAL,
            opset=opset,
            gradient=False,
            detect_positive=positive,
            detect_negative=negative,
        )
