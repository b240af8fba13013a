from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

Parse = Callable[..., ModelProto]
Operators = Callable[..., list[str]]
Array = np.ndarray[Any, Any]

PLAIN = "p = MatMul(q, k)\n w = Softmax<axis = -1>(p)\n y = MatMul(w, v)"
NUMBERS = {"half": 0.5, "third": 1 / 3, "two": 2.0, "zero": 0.0}


def attend(parse: Parse, text: str, tokens: int = 5, **stored: Array) -> ModelProto:
    """Two heads of four channels, all three made of `x` `(B, tokens, 8)` without a weight."""
    body = f"""h = Reshape(x, heads)
      q = Transpose<perm = [0, 2, 1, 3]>(h)
      k = Transpose<perm = [0, 2, 3, 1]>(h)
      t = Tanh(h)
      v = Transpose<perm = [0, 2, 1, 3]>(t)
      {text}"""
    numbers = {name: np.asarray(number, np.float32) for name, number in NUMBERS.items()}
    return parse(
        f"g (float[B, {tokens}, 8] x) => (float[B, 2, {tokens}, 4] y) {{ {body} }}",
        heads=np.array([0, 0, 2, 4]),
        **numbers,
        **stored,
    )


@pytest.mark.parametrize("tokens", [5, 70])
@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("axis = -1", "axis = 3"),
        PLAIN.replace("p =", "a = Mul(q, half)\n p =").replace("(q, k)", "(a, k)"),
        PLAIN.replace("p =", "a = Mul(q, half)\n b = Mul(third, k)\n p =").replace("(q, k)", "(a, b)"),
        PLAIN.replace("w =", "s = Mul(half, p)\n w =").replace("(p)", "(s)"),
        PLAIN.replace("w =", "s = Div(p, two)\n w =").replace("(p)", "(s)"),
    ],
)
def test_it_is_one(
    parse: Parse, draw: Callable[..., Any], operators: Operators, text: str, tokens: int
) -> None:
    found = operators(attend(parse, text, tokens), draw(3, tokens, 8))
    assert found.count("Attention") == 1
    assert not {"MatMul", "Softmax", "Mul", "Div"} & set(found)


def test_keys_that_were_only_turned_are_taken_from_before(
    parse: Parse, draw: Callable[..., Any], operators: Operators
) -> None:
    turned = "k2 = Transpose<perm = [0, 1, 3, 2]>(v)\n " + PLAIN.replace("(q, k)", "(q, k2)")
    assert operators(attend(parse, turned), draw(3, 5, 8)).count("Transpose") == 2


def test_factors_that_are_read_elsewhere_stay_beside_it(
    parse: Parse, draw: Callable[..., Any], operators: Operators
) -> None:
    text = f"a = Mul(q, half)\n {PLAIN.replace('(q, k)', '(a, k)').replace('y =', 'z =')}\n y = Add(z, a)"
    found = operators(attend(parse, text), draw(3, 5, 8))
    assert found.count("Attention") == found.count("Mul") == 1


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("axis = -1", "axis = 2"),
        PLAIN.replace("w =", "s = Add(p, mask)\n w =").replace("(p)", "(s)"),
        PLAIN.replace("w =", "s = Mul(p, each)\n w =").replace("(p)", "(s)"),
        PLAIN.replace("w =", "s = Mul(p, zero)\n w =").replace("(p)", "(s)"),
        PLAIN.replace("w =", "s = Mul(p, p)\n w =").replace("(p)", "(s)"),
        PLAIN.replace("y =", "z =") + "\n n = MatMul(w, q)\n y = Add(z, n)",
        PLAIN.replace("(w, v)", "(w, stored)"),
        PLAIN.replace("(p)", "(s)").replace("w =", "s = Relu(p)\n w ="),
    ],
)
def test_what_only_looks_like_it_stays(
    parse: Parse, draw: Callable[..., Any], operators: Operators, text: str
) -> None:
    model = attend(parse, text, mask=draw(5, 5), each=draw(5, 1), stored=draw(1, 2, 5, 4))
    assert "Softmax" in operators(model, draw(3, 5, 8))


@pytest.mark.parametrize("heads", [1, 2])
def test_one_key_for_all_heads_stays(
    parse: Parse, draw: Callable[..., Any], operators: Operators, heads: int
) -> None:
    some = "o = Slice(q, from, to, axes)\n k1 = Transpose<perm = [0, 1, 3, 2]>(o)\n "
    model = attend(
        parse, some + PLAIN.replace("(q, k)", "(q, k1)"), 70,
        to=np.array([heads]), axes=np.array([1]), **{"from": np.array([0])},
    )  # fmt: skip
    assert ("Attention" in operators(model, draw(3, 70, 8))) is (heads == 2)
