from __future__ import annotations

import pytest
import torch

from cake_onnx.graph.specs import Bounds, InputSpec, Layout
from cake_onnx.students.entrance import Scale, flat_entrance, image_entrance


def spec(
    shape: tuple[int, ...], layout: Layout, low: tuple[float, ...], high: tuple[float, ...]
) -> InputSpec:
    return InputSpec("x", shape, "float32", layout, Bounds(low, high, "a test", False))


CASES = [
    spec((3, 4, 5), "NCHW", (0.0,), (255.0,)),
    spec((3, 4, 5), "NCHW", (-2.0, 0.0, 10.0), (2.0, 1.0, 30.0)),
    spec((4, 5, 3), "NHWC", (-2.0, 0.0, 10.0), (2.0, 1.0, 30.0)),
    spec((3,), "flat", (-2.0, 0.0, 10.0), (2.0, 1.0, 30.0)),
    spec((2, 3), "flat", (-2.0, 0.0, 10.0, 1.0, 2.0, 3.0), (2.0, 1.0, 30.0, 3.0, 3.0, 9.0)),
    spec((2, 3), "flat", (-2.0, 10.0), (2.0, 30.0)),
    spec((2, 3), "flat", (-2.0, 0.0, 10.0), (2.0, 1.0, 30.0)),
]


def of_one(input: InputSpec, values: tuple[float, ...]) -> torch.Tensor:
    """A batch of one input that holds, everywhere, the bound that belongs there."""
    if len(values) == 1:
        return torch.full((1, *input.shape), values[0])
    if input.layout == "NCHW":
        return torch.tensor(values).view(1, -1, 1, 1).expand(1, *input.shape)
    if input.layout == "NHWC" or len(values) == input.shape[-1]:
        return torch.tensor(values).expand(1, *input.shape)
    if len(values) == input.shape[0]:
        return torch.tensor(values).view(1, -1, 1).expand(1, *input.shape)
    return torch.tensor(values).reshape(1, *input.shape)


@pytest.mark.parametrize("input", CASES, ids=lambda case: f"{case.layout}-{len(case.bounds.low)}")
def test_scale_maps_the_bounds_to_plus_and_minus_one(input: InputSpec) -> None:
    scale = Scale(input)
    low, high = of_one(input, input.bounds.low), of_one(input, input.bounds.high)
    ones = torch.ones(1, *input.shape)
    torch.testing.assert_close(scale(low), -ones)
    torch.testing.assert_close(scale(high), ones)
    torch.testing.assert_close(scale((low + high) / 2), 0 * ones, rtol=0, atol=1e-6)


def test_scale_is_fixed() -> None:
    assert not list(Scale(CASES[0]).parameters())


def test_bounds_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 bounds do not fit"):
        Scale(spec((3, 4, 5), "NCHW", (0.0, 0.0), (1.0, 1.0)))


def test_both_layouts_give_the_same_image() -> None:
    low, high = (-2.0, 0.0, 10.0), (2.0, 1.0, 30.0)
    image = torch.randn(2, 3, 4, 5)
    first = image_entrance(spec((3, 4, 5), "NCHW", low, high))(image)
    last = image_entrance(spec((4, 5, 3), "NHWC", low, high))(image.permute(0, 2, 3, 1))
    torch.testing.assert_close(first, last)


def test_flat_entrance_gives_one_axis_of_features() -> None:
    assert flat_entrance(CASES[0])(torch.zeros(2, 3, 4, 5)).shape == (2, 60)
