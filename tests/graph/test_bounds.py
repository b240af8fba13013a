from __future__ import annotations

from collections.abc import Callable

import pytest
from onnx import ModelProto

from cake_onnx.errors import UsageError
from cake_onnx.graph.bounds import choose_bounds
from cake_onnx.graph.inputs import find_data_input
from cake_onnx.graph.specs import Bounds

Parse = Callable[..., ModelProto]


def _bounds(
    model: ModelProto,
    given: tuple[float, float] | None = None,
    mean: list[float] | None = None,
    std: list[float] | None = None,
) -> Bounds:
    return choose_bounds(model, find_data_input(model.graph), given, mean, std)


def _image(parse: Parse, declared: str = "float[B, 3, 8, 8] x") -> ModelProto:
    return parse(f"g ({declared}) => (float[B, 3] y) {{ y = Identity(x) }}")


def _scaled(parse: Parse) -> ModelProto:
    return parse(
        """g (float[B, 2] x) => (float[B, 2] y) {
             c = Cast<to = 1>(x)
             y = ai.onnx.ml.Scaler<offset = [1.0, 10.0], scale = [2.0, 0.5]>(c)
        }""",
        ml=1,
    )


def test_a_range_given_comes_first(parse: Parse) -> None:
    model = _scaled(parse)
    assert _bounds(model, (0, 5), [0.5], [0.5]) == Bounds((0.0,), (5.0,), "--input-range", assumed=False)


def test_mean_and_std_become_a_range_per_channel(parse: Parse) -> None:
    bounds = _bounds(_image(parse), None, [0.5, 0.25, 0.0], [0.5, 0.25, 1.0])
    assert bounds.low == (-1.0, -1.0, 0.0)
    assert bounds.high == (1.0, 3.0, 1.0)
    assert not bounds.assumed


@pytest.mark.parametrize("numbers", [1, 2, 5, 10])
def test_mean_and_std_of_a_series_are_of_all_values_of_an_axis_or_of_each_value(
    numbers: int, parse: Parse
) -> None:
    bounds = _bounds(_image(parse, "float[B, 2, 5] x"), None, [0.5] * numbers, [0.5] * numbers)
    assert bounds.low == (-1.0,) * numbers


def test_what_would_have_fitted_is_said(parse: Parse) -> None:
    with pytest.raises(UsageError, match="one number or 2 or 5 or 10 for --mean and --std; found 3"):
        _bounds(_image(parse, "float[B, 2, 5] x"), None, [0.5] * 3, [0.5] * 3)
    with pytest.raises(UsageError, match="one number or 3 for --mean and --std; found 8"):
        _bounds(_image(parse), None, [0.5] * 8, [0.5] * 8)
    with pytest.raises(UsageError, match="one number for --mean and --std; found 3"):
        _bounds(_image(parse, "float[B, 1, 8, 8] x"), None, [0.5] * 3, [0.5] * 3)


def test_metadata_of_the_model_or_of_the_input(parse: Parse) -> None:
    by_model, by_input = _image(parse), _image(parse)
    by_model.metadata_props.add(key="Image.NominalPixelRange", value="NominalRange_0_255")
    by_input.graph.input[0].metadata_props.add(key="Image.NominalPixelRange", value="Normalized_1_1")
    assert (_bounds(by_model).low, _bounds(by_model).high) == ((0.0,), (255.0,))
    assert (_bounds(by_input).low, _bounds(by_input).high) == ((-1.0,), (1.0,))
    assert "metadata" in _bounds(by_model).source


def test_a_scaler_tells_three_deviations(parse: Parse) -> None:
    bounds = _bounds(_scaled(parse))
    assert bounds.low == (1.0 - 1.5, 10.0 - 6.0)
    assert bounds.high == (1.0 + 1.5, 10.0 + 6.0)
    assert not bounds.assumed


def test_bytes_tell_their_range(parse: Parse) -> None:
    bounds = _bounds(_image(parse, "uint8[B, 3, 8, 8] x"))
    assert (bounds.low, bounds.high, bounds.assumed) == ((0.0,), (255.0,), False)


@pytest.mark.parametrize(
    ("declared", "low", "high"),
    [
        ("float[B, 3, 8, 8] x", 0.0, 1.0),
        ("float[B, 9] x", -3.0, 3.0),
        ("int32[B, 3, 8, 8] x", 0.0, 255.0),
    ],
)
def test_an_assumption_says_so_and_how_to_replace_it(
    declared: str, low: float, high: float, parse: Parse
) -> None:
    bounds = _bounds(_image(parse, declared))
    assert (bounds.low, bounds.high, bounds.assumed) == ((low,), (high,), True)
    assert "--input-range" in bounds.source


@pytest.mark.parametrize("given", [(1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_must_be_one(given: tuple[float, float], parse: Parse) -> None:
    with pytest.raises(UsageError, match="LO below HI"):
        _bounds(_image(parse), given)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([0.5], None),
        (None, [0.5]),
        ([0.5], [0.5, 0.5]),
        ([0.5] * 2, [0.5] * 2),
        ([0.5], [0.0]),
        ([0.5], [-1.0]),
    ],
)
def test_mean_and_std_must_fit(mean: list[float] | None, std: list[float] | None, parse: Parse) -> None:
    with pytest.raises(UsageError, match="--mean"):
        _bounds(_image(parse), None, mean, std)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        ((0.0,), (1.0,), "0 to 1"),
        ((-2.0, 0.0), (1.0, 5.5), "-2 to 5.5, one range for each of 2"),
        ((0.0, 0.0), (1.0, 5.5), "0 to 5.5, one range for each of 2"),
        ((-1.0, -1.0), (1.0, 1.0), "-1 to 1"),
    ],
)
def test_bounds_in_few_words(low: tuple[float, ...], high: tuple[float, ...], told: str) -> None:
    assert str(Bounds(low, high, "test", assumed=False)) == told
