from __future__ import annotations

import pytest
import torch
from torch import nn

from cake_onnx.errors import UsageError
from cake_onnx.graph.specs import Bounds, InputSpec, Layout
from cake_onnx.priors import ImagePrior, SeriesPrior, build_prior, looks_like_flattened_image, sensitivity

SIDE = 12


def spec(shape: tuple[int, ...], layout: Layout = "flat") -> InputSpec:
    return InputSpec("features", shape, "float32", layout, Bounds((0.0,), (1.0,), "test", False))


def linear(templates: torch.Tensor) -> nn.Module:
    layer = nn.Linear(templates.shape[1], templates.shape[0], bias=False)
    layer.weight.data = templates
    return layer


def blobs() -> torch.Tensor:
    """Five templates, each a smooth bump at its own place, as a classifier of pictures has them."""
    axis = torch.linspace(-1, 1, SIDE)
    rows, columns = axis[:, None], axis[None, :]
    places = [(0.0, 0.0), (0.4, 0.1), (-0.3, 0.3), (0.1, -0.4), (-0.2, -0.2)]
    return torch.stack(
        [torch.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 0.2).flatten() for r, c in places]
    )


def looks_like(templates: torch.Tensor) -> bool:
    """Whether a classifier of these templates seems to look at pictures of `SIDE` by `SIDE`."""
    slopes = sensitivity(linear(templates), spec((SIDE * SIDE,)))
    return looks_like_flattened_image(slopes, (1, SIDE, SIDE))


def shuffled() -> torch.Tensor:
    return blobs()[:, torch.randperm(SIDE * SIDE, generator=torch.Generator().manual_seed(0))]


class Never(nn.Module):
    """A teacher that may not be asked."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the teacher was asked")


def test_smooth_templates_look_like_a_flattened_image() -> None:
    assert looks_like(blobs())


def test_the_same_templates_with_shuffled_columns_do_not() -> None:
    assert not looks_like(shuffled())


@pytest.mark.parametrize("across", [False, True])
def test_order_along_one_axis_alone_is_no_image(across: bool) -> None:
    stripes = torch.rand(5, SIDE, 1, generator=torch.Generator().manual_seed(0)).expand(5, SIDE, SIDE)
    templates = (stripes.mT if across else stripes).flatten(1).contiguous()
    assert not looks_like(templates)


def test_a_teacher_that_is_sensitive_to_nothing_is_no_image() -> None:
    assert not looks_like(torch.zeros(3, SIDE * SIDE))


def test_auto_follows_what_it_sees() -> None:
    flat = spec((SIDE * SIDE,))
    smooth, why = build_prior("auto", flat, linear(blobs()))
    assert isinstance(smooth, ImagePrior)
    assert smooth.image_shape == (1, SIDE, SIDE)
    assert "12x12" in why
    table, why = build_prior("auto", flat, linear(shuffled()))
    assert table.name == "tabular"
    assert "vector" in why


@pytest.mark.parametrize(("shape", "layout"), [((3, 8, 9), "NCHW"), ((8, 9, 3), "NHWC")])
def test_auto_takes_the_layout_for_an_answer(shape: tuple[int, ...], layout: Layout) -> None:
    prior, why = build_prior("auto", spec(shape, layout), Never())
    assert isinstance(prior, ImagePrior)
    assert prior.image_shape == (3, 8, 9)
    assert layout in why


@pytest.mark.parametrize("features", [2, 4, 25, 30, 31])
def test_auto_does_not_ask_where_there_are_too_few_values(features: int) -> None:
    assert build_prior("auto", spec((features,)), Never())[0].name == "tabular"


def waves(length: int) -> torch.Tensor:
    """Five templates along time, each smooth."""
    time = torch.linspace(0, 1, length)
    return torch.stack([torch.exp(-((time - middle) ** 2) / 0.02) for middle in (0.1, 0.3, 0.5, 0.7, 0.9)])


class Along(nn.Module):
    """A teacher whose answers sum smooth templates along one of two axes, over the other with any signs."""

    def __init__(self, axis: int, length: int, channels: int) -> None:
        super().__init__()
        self.axis, self.templates = axis, waves(length)
        self.signs = torch.randn(5, channels, generator=torch.Generator().manual_seed(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels_first = x if self.axis == 1 else x.mT
        return torch.einsum("bct,kt,kc->bk", channels_first, self.templates, self.signs)


@pytest.mark.parametrize(("shape", "axis"), [((20, 30), 1), ((30, 20), 0), ((20, 30), 0), ((30, 20), 1)])
def test_time_is_the_axis_along_which_neighbours_change_an_answer_alike(
    shape: tuple[int, int], axis: int
) -> None:
    teacher = Along(axis, shape[axis], shape[1 - axis])
    prior, why = build_prior("auto", spec(shape), teacher)
    assert isinstance(prior, SeriesPrior)
    assert prior.axis == axis
    assert f"{shape[axis]} time steps of {shape[1 - axis]} channels" in why


@pytest.mark.parametrize(("shape", "axis"), [((1, 30), 1), ((30, 1), 0)])
def test_of_one_channel_the_longer_axis_is_time_whatever_the_teacher(
    shape: tuple[int, int], axis: int
) -> None:
    prior, why = build_prior("auto", spec(shape), Never())
    assert isinstance(prior, SeriesPrior)
    assert prior.axis == axis
    assert "1 channel" in why


def test_a_few_times_are_no_series() -> None:
    assert build_prior("auto", spec((7, 2)), Never())[0].name == "tabular"


def test_a_flat_series_is_seen_by_its_neighbours() -> None:
    smooth = waves(60)
    mixed = smooth[:, torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    prior, why = build_prior("auto", spec((60,)), linear(smooth))
    assert prior.name == "series"
    assert "neighbours" in why
    assert build_prior("auto", spec((60,)), linear(mixed))[0].name == "tabular"


@pytest.mark.parametrize("shape", [(144,), (1, 144)])
def test_a_smooth_series_of_a_square_length_is_no_picture(shape: tuple[int, ...]) -> None:
    teacher = nn.Sequential(nn.Flatten(), linear(waves(144)))
    assert build_prior("auto", spec(shape), teacher)[0].name == "series"


@pytest.mark.parametrize(("shape", "layout"), [((3, 8, 9), "NCHW"), ((2, 3, 4), "flat"), ((1,), "flat")])
def test_series_named_for_what_has_no_time_is_refused(shape: tuple[int, ...], layout: Layout) -> None:
    with pytest.raises(UsageError, match=r"for `--prior series`.*features of shape .*--prior auto"):
        build_prior("series", spec(shape, layout), Never())


@pytest.mark.parametrize(
    ("shape", "layout", "name"),
    [
        ((3, 8, 9), "NCHW", "image"),
        ((20, 30), "flat", "series"),
        ((144,), "flat", "tabular"),
        ((60,), "flat", "tabular"),
    ],
)
def test_without_a_gradient_the_shape_tells_what_it_can(
    shape: tuple[int, ...], layout: Layout, name: str
) -> None:
    prior, _ = build_prior("auto", spec(shape, layout), None)
    assert prior.name == name
    assert not isinstance(prior, SeriesPrior) or prior.axis == 1


def test_a_flat_input_is_asked_for_its_gradient_once() -> None:
    asked = []
    teacher = nn.Sequential(linear(shuffled()))
    teacher.register_forward_hook(lambda *_: asked.append(1))
    assert build_prior("auto", spec((SIDE * SIDE,)), teacher)[0].name == "tabular"
    assert asked == [1]


def test_series_can_be_named_for_values_of_one_axis() -> None:
    prior, why = build_prior("series", spec((12,)), Never())
    assert prior.draw(2, torch.Generator()).shape == (2, 12)
    assert "--prior" in why


@pytest.mark.parametrize("name", ["gaussian", "uniform", "tabular", "image"])
def test_a_named_prior_is_taken(name: str) -> None:
    prior, why = build_prior(name, spec((1, 8, 8), "NCHW"), Never())
    assert prior.name == name
    assert "--prior" in why


def test_image_can_be_named_for_a_flat_square() -> None:
    prior, _ = build_prior("image", spec((64,)), Never())
    assert prior.draw(2, torch.Generator()).shape == (2, 64)


def test_image_named_for_a_vector_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--prior image.*features of shape \[30\].*--prior tabular"):
        build_prior("image", spec((30,)), Never())
