from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize("opset", [5, 13, 14, 19, 21, 23, 24])
@pytest.mark.parametrize("target", [(2, 12), (-1, 6), (0, -1), (0, 3, 4), (24,)])
def test_reshape(opset: int, target: tuple[int, ...], compare: Compare, draw: Draw) -> None:
    compare("Reshape", draw(2, 3, 4), ints(*target), opset=max(opset, 7))


def test_reshape_allowzero(compare: Compare, draw: Draw) -> None:
    compare("Reshape", draw(2, 3, 4), ints(2, 12), opset=19, allowzero=1)
    compare("Reshape", np.zeros((0, 3), np.float32), ints(3, 0), opset=14, allowzero=1, gradient=False)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -3])
def test_flatten(axis: int, compare: Compare, draw: Draw) -> None:
    compare("Flatten", draw(2, 3, 4), axis=axis)


@pytest.mark.parametrize("attributes", [{}, {"start": 1}, {"start": -2, "end": 3}, {"end": -1}])
def test_shape(attributes: dict[str, int], compare: Compare, draw: Draw) -> None:
    compare("Shape", draw(2, 3, 4), opset=19, gradient=False, **attributes)


def test_size(compare: Compare, draw: Draw) -> None:
    compare("Size", draw(2, 3, 4), gradient=False)


def test_squeeze_and_unsqueeze(compare: Compare, draw: Draw) -> None:
    for opset in (13, 21, 23):
        compare("Squeeze", draw(2, 1, 3, 1), ints(1, -1), opset=opset)
        compare("Squeeze", draw(2, 1, 3, 1), opset=opset)
        compare("Unsqueeze", draw(2, 3), ints(0, -1), opset=opset)
    compare("Squeeze", draw(2, 1, 3, 1), opset=11, axes=[1, 3])
    compare("Unsqueeze", draw(2, 3), opset=11, axes=[0, 3])


@pytest.mark.parametrize("target", [(2, 3, 4), (1, 1), (5, 1, 3, 4), (3, 1)])
def test_expand(target: tuple[int, ...], compare: Compare, draw: Draw) -> None:
    compare("Expand", draw(3, 1) if len(target) != 4 else draw(3, 4), ints(*target))


@pytest.mark.parametrize("opset", [7, 13, 21, 23])
def test_transpose(opset: int, compare: Compare, draw: Draw) -> None:
    compare("Transpose", draw(2, 3, 4), opset=opset, perm=[1, 2, 0])
    compare("Transpose", draw(2, 3, 4), opset=opset)


def test_identity_and_dropout(compare: Compare, draw: Draw) -> None:
    for opset in (7, 13, 16, 19, 21):
        compare("Identity", draw(2, 3), opset=opset)
    for opset in (7, 10, 12, 13, 22):
        compare("Dropout", draw(2, 3), opset=opset)


def test_reshape_1_has_its_target_as_attribute(parse: Callable[..., Any], draw: Draw) -> None:
    model = parse("g (float[B, 3, 4] x) => (float[B, 12] y) { y = Reshape<shape = [0, -1]>(x) }", opset=4)
    x = draw(2, 3, 4)
    np.testing.assert_array_equal(convert_graph(model)(torch.from_numpy(x)), x.reshape(2, 12))


def test_a_computed_target_may_be_held_in_floats(parse: Callable[..., Any], draw: Draw) -> None:
    model = parse(
        """g (float[B, 3, 4] x) => (float[B, 12] y) {
             s = Shape(x)
             f = Cast<to = 1>(s)
             h = Mul(f, factors)
             i = Cast<to = 7>(h)
             t = Slice(i, zero, two)
             y = Reshape(x, t)
        }""",
        factors=np.array([1, 4, 1], np.float32),
        zero=ints(0),
        two=ints(2),
    )
    x = draw(2, 3, 4)
    module = convert_graph(model)
    np.testing.assert_array_equal(module(torch.from_numpy(x)), x.reshape(2, 12))
    mapped = torch.vmap(lambda one: module(one[None])[0])(torch.from_numpy(x))
    np.testing.assert_array_equal(mapped, x.reshape(2, 12))


@pytest.mark.parametrize("opset", [7, 10, 12, 13, 22])
def test_the_mask_of_dropout_keeps_everything(opset: int, parse: Callable[..., Any], draw: Draw) -> None:
    model = parse("g (float[B, 3] x) => (float[B, 3] z) { y, mask = Dropout(x)  z = Identity(mask) }", opset)
    mask = convert_graph(model)(torch.from_numpy(draw(2, 3)))
    assert mask.dtype == (torch.float32 if opset == 7 else torch.bool)
    assert mask.all()


def test_training_is_declined_unless_it_drops_nothing(
    compare: Compare, draw: Draw, parse: Callable[..., Any]
) -> None:
    compare("Dropout", draw(2, 3), np.array(0, np.float32), np.array(True), opset=13)
    compare("Dropout", draw(2, 3), np.array(0.5, np.float32), np.array(False), opset=13)
    for ratio in ({"r": np.array(0.5, np.float32)}, {}):
        model = parse(
            f"g (float[B, 3] x) => (float[B, 3] y) {{ y = Dropout(x, {'r' if ratio else ''}, t) }}",
            t=np.array(True),
            **ratio,
        )
        with pytest.raises(UnsupportedTeacherError, match="Dropout in training mode"):
            convert_graph(model)
