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


def floats(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.float32)


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.int64)


COORDINATES = [
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("size", [(9, 4), (1, 12), (3, 7), (10, 2)])
def test_sizes(coordinates: str, size: tuple[int, int], compare: Compare, draw: Draw) -> None:
    x, sizes = draw(2, 3, 5, 7), ints(2, 3, *size)
    for mode in ("linear", "cubic"):
        options = {"mode": mode, "coordinate_transformation_mode": coordinates}
        compare("Resize", x, None, None, sizes, opset=19, **options)
        compare("Resize", x, None, None, sizes, opset=19, antialias=1, **options)
    for nearest in NEAREST:
        options = {"nearest_mode": nearest, "coordinate_transformation_mode": coordinates}
        compare("Resize", x, None, None, sizes, opset=19, **options)


@pytest.mark.parametrize("coordinates", [name for name in COORDINATES if name != "align_corners"])
@pytest.mark.parametrize("scales", [(0.6, 1.3), (2.0, 3.0), (2.5, 0.7), (2.0, 1.1)])
def test_factors(coordinates: str, scales: tuple[float, float], compare: Compare, draw: Draw) -> None:
    x = draw(2, 3, 5, 7)
    for mode in ("nearest", "linear", "cubic"):
        options = {"mode": mode, "coordinate_transformation_mode": coordinates}
        compare("Resize", x, None, floats(1, 1, *scales), opset=18, **options)


def test_sizes_are_multiplied_in_single_precision(compare: Compare, draw: Draw) -> None:
    # 0.7 as float32 is less than 0.7.
    assert compare("Resize", draw(2, 3, 10), None, floats(1, 1, 0.7), opset=13).shape == (2, 3, 7)


@pytest.mark.parametrize("a", [-0.5, -0.75])
@pytest.mark.parametrize("exclude", [0, 1])
@pytest.mark.parametrize("antialias", [0, 1])
def test_cubic_options(a: float, exclude: int, antialias: int, compare: Compare, draw: Draw) -> None:
    options = {"cubic_coeff_a": a, "exclude_outside": exclude, "antialias": antialias}
    compare("Resize", draw(2, 3, 5, 7), None, None, ints(2, 3, 4, 9), opset=18, mode="cubic", **options)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_crop(mode: str, compare: Compare, draw: Draw) -> None:
    roi = floats(0, 0, -0.2, 0.3, 1, 1, 0.7, 1.1)
    options = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 10.0}
    for size in ((3, 4), (1, 1), (5, 4), (5, 7)):
        compare("Resize", draw(2, 3, 5, 7), roi, None, ints(2, 3, *size), opset=13, mode=mode, **options)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_axes_and_aspect_ratio(policy: str, compare: Compare, draw: Draw) -> None:
    for axes in ([2, 3], [3, 2]):
        options = {"axes": axes, "keep_aspect_ratio_policy": policy}
        compare("Resize", draw(2, 3, 5, 7), None, None, ints(6, 12), opset=18, mode="linear", **options)
    compare("Resize", draw(2, 5, 7, 3), None, None, ints(6, 12), opset=18, mode="linear", axes=[1, 2])


def test_other_ranks(compare: Compare, draw: Draw) -> None:
    compare("Resize", draw(2, 3, 5, 6, 4), None, None, ints(2, 3, 7, 3, 8), opset=13, mode="linear")
    compare("Resize", draw(2, 3, 5), None, floats(1, 1, 2), opset=13, mode="nearest")
    compare("Resize", draw(4, 5), None, floats(1.5, 2), opset=13, mode="linear")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_older_versions(mode: str, compare: Compare, draw: Draw) -> None:
    for scales in ([1.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.3, 2.7]):
        compare("Upsample", draw(2, 3, 5, 7), opset=7, mode=mode, scales=scales)
        compare("Upsample", draw(2, 3, 5, 7), floats(*scales), opset=9, mode=mode)
        compare("Resize", draw(2, 3, 5, 7), floats(*scales), opset=10, mode=mode)
    compare("Resize", draw(2, 3, 5, 7), floats(1, 1, 0.6, 0.7), opset=10, mode=mode)


def test_upsample_1(parse: Callable[..., Any], draw: Draw) -> None:
    model = parse(
        """g (float[B, 1, 2, 2] x) => (float[B, 1, 4, 6] y) {
             y = Upsample<height_scale = 2.0, width_scale = 3.0>(x)
        }""",
        opset=6,
    )
    x = draw(1, 1, 2, 2)
    wanted = x.repeat(2, axis=2).repeat(3, axis=3)
    np.testing.assert_array_equal(convert_graph(model)(torch.from_numpy(x)), wanted)


def test_sizes_computed_from_shapes(parse: Callable[..., Any], draw: Draw) -> None:
    model = parse(
        """g (float[B, 3, 4, 5] x) => (float[B, 3, 8, 10] y) {
             s = Shape(x)
             f = Cast<to = 1>(s)
             d = Mul(f, two)
             n = Floor(d)
             i = Cast<to = 7>(n)
             y = Resize<mode = "linear">(x, , , i)
        }""",
        two=floats(1, 1, 2, 2),
    )
    x = draw(2, 3, 4, 5)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    module, point = convert_graph(model), torch.from_numpy(x)
    np.testing.assert_allclose(module(point), wanted, rtol=1e-5, atol=1e-6)
    mapped = torch.vmap(lambda one: module(one[None])[0])(point)
    np.testing.assert_allclose(mapped, wanted, rtol=1e-5, atol=1e-6)


def test_bytes_are_cut_off(parse: Callable[..., Any]) -> None:
    model = parse(
        """g (float[B, 1, 3, 3] x) => (float[B, 1, 7, 5] y) {
             q = Cast<to = 2>(x)
             r = Resize<mode = "linear">(q, , , s)
             y = Cast<to = 1>(r)
        }""",
        s=ints(2, 1, 7, 5),
    )
    x = np.random.default_rng(0).integers(0, 255, (2, 1, 3, 3)).astype(np.float32)
    x[1] = 5
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    found = convert_graph(model)(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(found[1], wanted[1])
    # Where a sum is a whole number, its last bit decides in onnxruntime.
    assert np.abs(found - wanted).max() <= 1
    assert (found == wanted).mean() > 0.9


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ('mode = "lanczos"', "mode=lanczos"),
        ('coordinate_transformation_mode = "corner"', "coordinate_transformation_mode=corner"),
        ('nearest_mode = "up"', "nearest_mode=up"),
        ('coordinate_transformation_mode = "align_corners"', "Resize of 5 by 1.5 with aligned corners"),
    ],
)
def test_what_is_declined(options: str, reason: str, parse: Callable[..., Any]) -> None:
    model = parse(
        f"g (float[B, 1, 5, 5] x) => (float[B, 1, 7, 7] y) {{ y = Resize<{options}>(x, , s) }}",
        s=floats(1, 1, 1.5, 1.5),
    )
    with pytest.raises(UnsupportedTeacherError, match=reason):
        convert_graph(model)
