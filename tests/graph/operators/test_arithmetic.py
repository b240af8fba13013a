from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

Compare = Callable[..., Any]
Draw = Callable[..., Any]
Parse = Callable[..., ModelProto]

FUNCTIONS = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power}


@pytest.mark.parametrize("op", FUNCTIONS)
@pytest.mark.parametrize("opset", [7, 12, 13, 14, 15])
def test_broadcasting(op: str, opset: int, compare: Compare, draw: Draw) -> None:
    x = np.abs(draw(2, 3, 4)) + 0.1
    for shape in ((), (4,), (3, 1), (2, 3, 4), (1, 1, 1, 1)):
        compare(op, x, np.asarray(draw(*shape), dtype=np.float32), opset=opset)


@pytest.mark.parametrize("op", FUNCTIONS)
@pytest.mark.parametrize("opset", [1, 6])
@pytest.mark.parametrize(
    ("shape", "said", "reshaped"),
    [
        ((2, 3, 4, 5), "", (2, 3, 4, 5)),
        ((), "broadcast = 1", ()),
        ((4, 5), "broadcast = 1", (4, 5)),
        ((4, 5), "broadcast = 1, axis = -1", (4, 5)),
        ((3,), "broadcast = 1, axis = 1", (3, 1, 1)),
        ((3, 4), "broadcast = 1, axis = 1", (3, 4, 1)),
        ((2,), "broadcast = 1, axis = 0", (2, 1, 1, 1)),
        ((3, 1, 1), "broadcast = 1, axis = 1", (3, 1, 1)),
    ],
)
def test_broadcasting_before_version_7(
    op: str,
    opset: int,
    shape: tuple[int, ...],
    said: str,
    reshaped: tuple[int, ...],
    parse: Parse,
    draw: Draw,
) -> None:
    """No runtime of today runs these; numpy says what they mean."""
    b = np.asarray(draw(*shape), dtype=np.float32)
    attributes = f"<{said}>" if said else ""
    text = f"g (float[2, 3, 4, 5] x) => (float[2, 3, 4, 5] y) {{ y = {op}{attributes}(x, b) }}"
    x = np.abs(draw(2, 3, 4, 5)) + 0.1
    found = convert_graph(parse(text, opset=opset, b=b))(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), FUNCTIONS[op](x, b.reshape(reshaped)), rtol=1e-4, atol=1e-5)


def test_another_negative_axis_is_declined(parse: Parse, draw: Draw) -> None:
    text = "g (float[2, 3] x) => (float[2, 3] y) { y = Add<broadcast = 1, axis = -2>(x, b) }"
    with pytest.raises(UnsupportedTeacherError, match="axis=-2"):
        convert_graph(parse(text, opset=6, b=draw(2)))


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, 0.3, -1.0, 2.5, 0.0])
def test_stored_exponents(exponent: float, compare: Compare, draw: Draw, mapped: Callable[..., None]) -> None:
    x = np.abs(draw(2, 3)) + 0.1
    for stored in (np.array(exponent, dtype=np.float32), np.array([[[exponent]]], dtype=np.float32)):
        compare("Pow", x, stored, gradient=exponent != 0)
    mapped("Pow", x, np.array(exponent, dtype=np.float32))


def test_exponents_of_another_type(compare: Compare, draw: Draw) -> None:
    compare("Pow", draw(2, 3), np.array(2, dtype=np.int64))
    compare("Pow", draw(2, 3), np.array([0, 1, 2], dtype=np.int32))


def test_a_root_written_as_a_power_has_a_gradient_at_zero(parse: Parse) -> None:
    for stored in (np.array(0.5, dtype=np.float32), np.full(3, 0.5, dtype=np.float32)):
        text = "g (float[B, 3] x) => (float[B, 3] y) { q = Mul(x, x)\n y = Pow(q, e) }"
        x = torch.zeros(1, 3, requires_grad=True)
        convert_graph(parse(text, e=stored))(x).sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_modulo(compare: Compare, draw: Draw, mapped: Callable[..., None]) -> None:
    x, by = draw(2, 3) * 5, np.array([2.0, -1.5, 0.7], dtype=np.float32)
    for opset in (10, 13, 28):
        compare("Mod", x, by, opset=opset, fmod=1)
    compare("Mod", x, by, opset=28, fmod=0)
    mapped("Mod", x, by, fmod=1)


@pytest.mark.parametrize(
    "text",
    [
        "Div(i, c)",
        "Div(c, j)",
        "Mod(i, c)",
        "Mod<fmod = 1>(i, c)",
        "Pow(i, three)",
        "Pow(i, many)",
        "Add(i, c)",
        "Sub(i, c)",
        "Mul(i, c)",
    ],
)
@pytest.mark.parametrize("type_code", [6, 7])
def test_whole_numbers_carried_as_floats(text: str, type_code: int, parse: Parse, draw: Draw) -> None:
    """Integers come from a float by rounding, and a gradient passes all the same."""
    dtype = np.int32 if type_code == 6 else np.int64
    model = parse(
        f"""g (float[B, 4] x) => (float[B, 4] y) {{
          i = Cast<to = {type_code}>(x)
          a = Abs(i)
          one = Div(c, c)
          j = Add(a, one)
          r = {text}
          y = Cast<to = 1>(r)
        }}""",
        c=np.array([3, -2, 5, 4], dtype=dtype),
        three=np.array(3, dtype=dtype),
        many=np.array([1, 2, 3, 4], dtype=dtype),
    )
    x = draw(3, 4) * 9
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    point = torch.from_numpy(x).requires_grad_()
    found = convert_graph(model)(point)
    assert found.tolist() == wanted.tolist()
    found.sum().backward()
    assert point.grad is not None
    assert point.grad.isfinite().all()
    assert point.grad.abs().sum() > 0


def test_powers_keep_the_type_of_their_base(parse: Parse) -> None:
    for stored in (np.array(0.5, dtype=np.float32), np.full(3, 0.5, dtype=np.float32)):
        text = "g (int32[B, 3] x) => (int32[B, 3] y) { y = Pow(x, e) }"
        found = convert_graph(parse(text, e=stored))(torch.tensor([[4, 8, 0]], dtype=torch.int32))
        assert found.dtype == torch.int32
        assert found.tolist() == [[2, 2, 0]]


def test_integers_of_shapes_stay_integers(parse: Parse, draw: Draw) -> None:
    model = parse(
        """g (float[B, N] x) => (float[B, N] y) {
          s = Shape(x)
          h = Div(s, two)
          q = Pow(h, two)
          m = Mod(q, five)
          f = Cast<to = 1>(m)
          y = Mul(x, f)
        }""",
        two=np.array(2, dtype=np.int64),
        five=np.array(5, dtype=np.int64),
    )
    x = torch.from_numpy(draw(5, 2))
    torch.testing.assert_close(convert_graph(model)(x), x * torch.tensor([4.0, 1.0]))
