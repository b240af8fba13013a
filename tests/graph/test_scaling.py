"""What the first nodes of a graph give away about the range of its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from cake_onnx.graph.bounds import choose_bounds
from cake_onnx.graph.inputs import find_data_input
from cake_onnx.graph.specs import Bounds

Parse = Callable[..., ModelProto]
IMAGE = "float[B, 3, 8, 8] x"
CHANNELS = (1, 3, 1, 1)


def _bounds(parse: Parse, nodes: str, declared: str = IMAGE, **stored: Any) -> Bounds:
    model = parse(f"g ({declared}) => (float[B, 3] y) {{ {nodes} y = Identity(z) }}")
    for name, value in stored.items():
        array = np.asarray(value, np.float32) if isinstance(value, float) else np.asarray(value)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return choose_bounds(model, find_data_input(model.graph), None, None, None)


def _range(bounds: Bounds) -> tuple[float, float, bool]:
    return bounds.low[0], bounds.high[0], bounds.assumed


def _per_channel(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(CHANNELS)


MEAN, STD = _per_channel(0.485, 0.456, 0.406), _per_channel(0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("nodes", "stored", "high"),
    [
        ("a = Sub(x, m) z = Div(a, s)", {"m": MEAN, "s": STD}, 1.0),
        ("a = Sub(x, m) z = Div(a, s)", {"m": 255 * MEAN, "s": 255 * STD}, 255.0),
        ("t = Transpose<perm = [0, 3, 1, 2]>(x) a = Sub(t, m) z = Mul(a, s)", {"m": MEAN, "s": 1 / STD}, 1.0),
        ("a = Div(x, d) z = Add(a, m)", {"d": 127.5, "m": -1.0}, 255.0),
        ("a = Mul(d, x) z = Sub(a, m)", {"d": 2.0, "m": 1.0}, 1.0),
        ("z = Div(x, d)", {"d": 255.0}, 255.0),
        ("z = Mul(x, d)", {"d": 0.00392157}, 255.0),
        ("a = Div(x, d) b = Sub(a, m) z = Div(b, s)", {"d": 255.0, "m": MEAN, "s": STD}, 255.0),
        ("z = Sub(x, m)", {"m": _per_channel(103.9, 116.8, 123.7)}, 255.0),
    ],
)
def test_a_normalisation_of_pixels_tells_their_range(
    parse: Parse, nodes: str, stored: dict[str, Any], high: float
) -> None:
    declared = "float[B, 8, 8, 3] x" if "Transpose" in nodes else IMAGE
    bounds = _bounds(parse, nodes, declared, **stored)
    assert _range(bounds) == (0.0, high, False)
    assert "normalisation" in bounds.source


def test_statistics_of_a_batch_tell_it_as_well(parse: Parse) -> None:
    stored: dict[str, Any] = {
        "g": np.full(3, -0.4, np.float32), "b": np.full(3, 5, np.float32),
        "m": np.full(3, 120, np.float32), "v": np.full(3, 60.0**2, np.float32),
    }  # fmt: skip
    bounds = _bounds(parse, "z = BatchNormalization(x, g, b, m, v)", **stored)
    assert bounds.high == (255.0,)


@pytest.mark.parametrize(
    ("nodes", "stored"),
    [
        ("z = Mul(x, d)", {"d": 0.3}),  # a factor of any kind
        ("z = Add(x, m)", {"m": 0.2}),  # a bias
        ("a = Sub(x, m) z = Div(a, s)", {"m": -3.0, "s": 2.0}),
        ("a = Sub(x, m) z = Div(a, s)", {"m": 7.0, "s": 4.0}),
        ("z = Mul(x, d)", {"d": -1.0}),
        ("z = Mul(x, x)", {}),
        ("a = Sub(x, m) z = Add(a, x)", {"m": 0.5}),
        ("z = Div(d, x)", {"d": 255.0}),
    ],
)
def test_what_is_no_normalisation_tells_nothing(parse: Parse, nodes: str, stored: dict[str, Any]) -> None:
    assert _bounds(parse, nodes, **stored).assumed


def test_columns_of_a_table_have_three_deviations(parse: Parse) -> None:
    mean, std = np.array([1.0, -4.0], np.float32), np.array([0.5, 2.0], np.float32)
    bounds = _bounds(parse, "a = Sub(x, m) z = Div(a, s)", "float[B, 2] x", m=mean, s=std)
    assert (bounds.low, bounds.high, bounds.assumed) == ((-0.5, -10.0), (2.5, 2.0), False)
    assert _bounds(parse, "z = Sub(x, m)", "float[B, 2] x", m=0.5).assumed


@pytest.mark.parametrize(
    ("nodes", "declared"),
    [
        ("z = BatchNormalization(x, g, b, m, v)", "float[B, 2, 9] x"),
        ("t = Transpose<perm = [0, 2, 1]>(x) z = BatchNormalization(t, g, b, m, v)", "float[B, 9, 2] x"),
    ],
)
def test_channels_of_a_series_have_three_deviations(parse: Parse, nodes: str, declared: str) -> None:
    stored: dict[str, Any] = {
        "g": np.ones(2, np.float32), "b": np.zeros(2, np.float32),
        "m": np.array([1.0, -4.0], np.float32), "v": np.array([0.25, 4.0], np.float32),
    }  # fmt: skip
    bounds = _bounds(parse, nodes, declared, **stored)
    assert (*bounds.low, *bounds.high) == pytest.approx((-0.5, -10.0, 2.5, 2.0))
    assert _bounds(parse, nodes, "float[B, 2, 2] x", **stored).assumed, "which of two axes is not told"


@pytest.mark.parametrize(
    ("zero", "low", "high"),
    [(np.uint8(51), -5.1, 20.4), (np.int8(-128), 0.0, 25.5), (np.int8(0), -12.8, 12.7)],
)
def test_a_quantised_input_tells_its_levels(parse: Parse, zero: np.generic, low: float, high: float) -> None:
    nodes = "q = QuantizeLinear(x, s, zero) z = DequantizeLinear(q, s, zero)"
    bounds = _bounds(parse, nodes, s=0.1, zero=zero)
    assert (*bounds.low, *bounds.high) == pytest.approx((low, high))
    assert not bounds.assumed


def test_a_quantiser_whose_scale_is_computed_tells_nothing(parse: Parse) -> None:
    model = parse(f"g ({IMAGE}) => (float[B, 3] y) {{ s = ReduceMax(x) q = QuantizeLinear(x, s) "
                  "y = DequantizeLinear(q, s) }")  # fmt: skip
    model.graph.initializer.append(helper.make_tensor("unused", 1, [1], [0.0]))
    assert choose_bounds(model, find_data_input(model.graph), None, None, None).assumed
