"""What every prior promises, and what each adds."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cake_onnx.graph.specs import Bounds, InputSpec, Layout
from cake_onnx.losses import total_variation
from cake_onnx.priors import (
    GaussianPrior,
    ImagePrior,
    Prior,
    SeriesPrior,
    TabularPrior,
    UniformPrior,
    ValueRange,
)
from cake_onnx.priors.drawing import draw_strokes
from cake_onnx.priors.image import shift
from cake_onnx.priors.series import KINDS, Kind

PIXELS = Bounds((0.0,), (255.0,), "test", False)
COLOURS = Bounds((-2.1, -2.0, -1.8), (2.2, 2.4, 2.6), "test", False)
PIXEL_RANGES = Bounds(
    tuple(float(k) for k in range(64)), tuple(2.0 * k + 1 for k in range(64)), "test", False
)
EACH = Bounds((0.0, 1.0, 2.0, 3.0, 4.0, 5.0), (9.0, 1.5, 2.5, 3.5, 4.5, 5.5), "test", False)


def spec(shape: tuple[int, ...], layout: Layout, bounds: Bounds = PIXELS) -> InputSpec:
    return InputSpec("x", shape, "float32", layout, bounds)


def image_prior(spec: InputSpec) -> ImagePrior:
    assert spec.image_shape is not None
    return ImagePrior(spec, spec.image_shape)


PRIORS: dict[str, tuple[Prior, InputSpec]] = {
    "grey NCHW": (image_prior(s := spec((1, 28, 28), "NCHW")), s),
    "colour NCHW, a range for each channel": (image_prior(s := spec((3, 16, 16), "NCHW", COLOURS)), s),
    "colour NHWC, a range for each channel": (image_prior(s := spec((12, 16, 3), "NHWC", COLOURS)), s),
    "grey NHWC": (image_prior(s := spec((9, 9, 1), "NHWC")), s),
    "odd sides": (image_prior(s := spec((3, 7, 11), "NCHW")), s),
    "five channels": (image_prior(s := spec((5, 8, 8), "NCHW")), s),
    "one pixel": (image_prior(s := spec((3, 1, 1), "NCHW")), s),
    "one row": (image_prior(s := spec((1, 1, 6), "NCHW")), s),
    "flattened image": (ImagePrior(s := spec((64,), "flat"), (1, 8, 8)), s),
    "flattened, a range for each pixel": (
        ImagePrior(s := spec((64,), "flat", PIXEL_RANGES), (1, 8, 8)),
        s,
    ),
    "uniform": (UniformPrior(s := spec((3, 5), "flat")), s),
    "uniform, a range for each feature": (
        UniformPrior(s := spec((2,), "flat", Bounds((-0.1, 1e3), (0.3, 1e3 + 1), "test", False))),
        s,
    ),
    "gaussian": (GaussianPrior(s := spec((4,), "flat")), s),
    "gaussian image": (GaussianPrior(s := spec((3, 6, 6), "NCHW", COLOURS)), s),
    "tabular": (TabularPrior(s := spec((9,), "flat")), s),
    "tabular, one feature": (TabularPrior(s := spec((1,), "flat")), s),
    "series of one axis": (SeriesPrior(s := spec((40,), "flat"), 0), s),
    "series, time last": (SeriesPrior(s := spec((3, 25), "flat", COLOURS), 1), s),
    "series, time first": (SeriesPrior(s := spec((25, 2), "flat"), 0), s),
    "series, channels last": (SeriesPrior(s := spec((25, 3), "flat", COLOURS), 0), s),
    "series, bounds for each value": (SeriesPrior(s := spec((2, 3), "flat", EACH), 1), s),
    "series of two times": (SeriesPrior(s := spec((4, 2), "flat"), 1), s),
}
every_prior = pytest.mark.parametrize(("prior", "spec"), PRIORS.values(), ids=PRIORS)


def new(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inside(x: Tensor, spec: InputSpec) -> bool:
    bounds = ValueRange.of(spec)
    return bool(((x >= bounds.low) & (x <= bounds.high)).all())


@every_prior
def test_draws_are_float32_inside_the_bounds_and_vary(prior: Prior, spec: InputSpec) -> None:
    for n in (1, 2, 5, 40):
        x = prior.draw(n, new(n))
        assert x.shape == (n, *spec.shape)
        assert x.dtype == torch.float32
        assert bool(torch.isfinite(x).all())
        assert inside(x, spec)
    assert len(x.flatten(1).unique(dim=0)) > 30


@every_prior
def test_the_generator_decides_everything(prior: Prior, spec: InputSpec) -> None:
    torch.manual_seed(1)
    x = prior.draw(12, new(5))
    varied = prior.augment(x, new(6))
    torch.manual_seed(2)
    assert torch.equal(prior.draw(12, new(5)), x)
    assert torch.equal(prior.augment(x, new(6)), varied)
    assert not torch.equal(prior.draw(12, new(6)), x)


@every_prior
@given(seed=st.integers(0, 2**31), scale=st.floats(0, 10))
def test_bounds_are_never_left(prior: Prior, spec: InputSpec, seed: int, scale: float) -> None:
    generator = new(seed)
    assert inside(prior.draw(3, generator), spec)
    bounds = ValueRange.of(spec)
    far = bounds.from_unit(0.5 + scale * torch.randn(4, *spec.shape, generator=generator))
    held = prior.project(far)
    assert inside(held, spec)
    assert torch.equal(prior.project(held), held), "what is inside stays"
    varied = prior.augment(held, generator)
    assert varied.shape == held.shape
    assert inside(varied, spec)


@every_prior
def test_penalty_is_per_sample_not_negative_and_differentiable(prior: Prior, spec: InputSpec) -> None:
    x = prior.draw(5, new(0)).requires_grad_()
    penalty = prior.penalty(x)
    assert penalty.shape == (5,)
    assert bool((penalty >= 0).all())
    torch.testing.assert_close(penalty[:2], prior.penalty(x[:2]))
    if penalty.requires_grad:
        (gradient,) = torch.autograd.grad(penalty.sum(), x)
        assert bool(torch.isfinite(gradient).all())


@every_prior
def test_samples_may_lie_on_another_device_than_the_bounds(prior: Prior, spec: InputSpec) -> None:
    # The meta device has no numbers, but like a GPU it refuses tensors of the processor.
    elsewhere = torch.zeros(3, *spec.shape, device="meta")
    assert prior.project(elsewhere).device.type == "meta"
    assert prior.penalty(elsewhere).shape == (3,)


@every_prior
def test_repr_tells_the_kind_and_the_shape(prior: Prior, spec: InputSpec) -> None:
    assert type(prior).__name__ in repr(prior)
    assert "shape=" in repr(prior)


def test_image_layouts_hold_the_same_pictures() -> None:
    first = image_prior(spec((3, 8, 10), "NCHW")).draw(4, new(0))
    last = image_prior(spec((8, 10, 3), "NHWC")).draw(4, new(0))
    flat = ImagePrior(spec((240,), "flat"), (3, 8, 10)).draw(4, new(0))
    assert torch.equal(first, last.movedim(-1, 1))
    assert torch.equal(first.flatten(1), flat)


def test_pictures_fill_the_range_and_are_smoother_than_noise() -> None:
    chosen = spec((1, 28, 28), "NCHW")
    pictures = image_prior(chosen).draw(200, new(0))
    noise = UniformPrior(chosen).draw(200, new(0))
    assert pictures.min() < 5
    assert pictures.max() > 250
    assert total_variation(pictures).mean() < 0.5 * total_variation(noise).mean()


def test_some_strokes_are_closed_around_their_ground() -> None:
    closed = [rings(picture) for picture in draw_strokes(300, 1, (28, 28), new(2))[:, 0]]
    assert 0.25 < sum(closed) / len(closed) < 0.75


def rings(picture: Tensor) -> bool:
    """Whether ink shuts some of the ground off from the edge of `(H, W)`."""
    away = (picture - picture.median()).abs()  # most of it is ground
    ground = away < away.max() / 2
    reached = ground.clone()
    reached[1:-1, 1:-1] = False
    for _ in range(picture.numel()):
        grown = F.max_pool2d(reached[None].float(), 3, 1, 1)[0].bool() & ground
        if bool((grown == reached).all()):
            break
        reached = grown
    return bool((ground & ~reached).any())


def test_penalty_of_images_is_total_variation_in_units_of_the_range() -> None:
    prior = image_prior(spec((6, 6, 3), "NHWC", COLOURS))
    images = prior.draw(4, new(0))
    unit = ValueRange.of(spec((6, 6, 3), "NHWC", COLOURS)).to_unit(images).movedim(-1, 1)
    torch.testing.assert_close(prior.penalty(images), total_variation(unit))


@given(st.integers(0, 2**31), st.integers(1, 3))
def test_shift_moves_each_picture_whole_and_repeats_the_edge(seed: int, most: int) -> None:
    images = torch.rand(6, 2, 5, 7, generator=new(seed))
    moved = shift(images, most, new(seed))
    for before, after in zip(images, moved, strict=True):
        candidates = [
            before[:, [min(max(i + down, 0), 4) for i in range(5)]][
                :, :, [min(max(j + right, 0), 6) for j in range(7)]
            ]
            for down in range(-most, most + 1)
            for right in range(-most, most + 1)
        ]
        assert any(torch.equal(after, candidate) for candidate in candidates)


def test_shift_moves_by_different_offsets() -> None:
    images = torch.zeros(200, 1, 9, 9)
    images[:, :, 4, 4] = 1
    places = {tuple(image[0].nonzero()[0].tolist()) for image in shift(images, 1, new(0))}
    assert places == {(i, j) for i in (3, 4, 5) for j in (3, 4, 5)}


def test_gaussian_is_centred_and_its_penalty_grows_outwards() -> None:
    prior = GaussianPrior(spec((50,), "flat", Bounds((-3.0,), (3.0,), "test", False)))
    x = prior.draw(2000, new(0))
    assert x.mean().item() == pytest.approx(0, abs=0.02)
    assert x.std().item() == pytest.approx(1, abs=0.02)
    lines = torch.tensor([0.0, 1.0, 3.0])[:, None].expand(3, 50)
    torch.testing.assert_close(prior.penalty(lines), torch.tensor([0.0, 0.5, 4.5]))


def test_uniform_reaches_everywhere() -> None:
    x = UniformPrior(spec((1,), "flat", Bounds((-1.0,), (3.0,), "test", False))).draw(4000, new(0))
    counts = torch.histc(x, 4, -1, 3)
    assert bool(((counts - 1000).abs() < 150).all())


def test_tables_reach_the_edges_and_have_correlated_columns() -> None:
    prior = TabularPrior(spec((6,), "flat", Bounds((0.0,), (1.0,), "test", False)))
    rows = prior.draw(3000, new(0))
    assert rows.min() == 0
    assert rows.max() == 1
    between = torch.corrcoef(rows.T).fill_diagonal_(0).abs().max().item()
    alone = UniformPrior(spec((6,), "flat")).draw(3000, new(0))
    assert between > 2 * torch.corrcoef(alone.T).fill_diagonal_(0).abs().max().item()


def test_series_go_on_in_time_and_hold_the_same_signals_in_either_layout() -> None:
    last = SeriesPrior(spec((3, 50), "flat"), 1).draw(40, new(0))
    first = SeriesPrior(spec((50, 3), "flat"), 0).draw(40, new(0))
    assert torch.equal(first, last.mT)
    in_time, between = last.diff(dim=2).abs().mean(), last.diff(dim=1).abs().mean()
    assert in_time < 0.5 * between


def test_channels_of_a_series_are_of_one_cause_in_some_and_of_their_own_in_others() -> None:
    both = SeriesPrior(spec((2, 60), "flat"), 1).draw(300, new(0))
    alike = torch.stack([torch.corrcoef(sample)[0, 1].abs() for sample in both])
    assert (alike > 0.95).float().mean() > 0.05
    assert (alike < 0.3).float().mean() > 0.1


@given(st.integers(0, 2**31))
def test_a_series_is_moved_whole_in_time_and_its_ends_are_repeated(seed: int) -> None:
    prior = SeriesPrior(spec((2, 40), "flat"), 1)
    series = prior.draw(5, new(seed))
    for before, after in zip(series, prior.augment(series, new(seed)), strict=True):
        moved = [before[:, [min(max(i + by, 0), 39) for i in range(40)]] for by in range(-2, 3)]
        assert any(torch.equal(after, candidate) for candidate in moved)


@pytest.mark.parametrize("draw", KINDS)
def test_every_kind_of_signal_has_mean_0_and_spread_1(draw: Kind) -> None:
    signals = draw(200, 2, 64, new(0))
    assert signals.mean(-1).abs().max() < 1e-3
    spread = signals.square().mean(-1).sqrt()
    # Where no event falls into a series it is plain.
    assert bool(((spread - 1).abs().lt(1e-3) | spread.lt(1e-3)).all())
    assert (spread > 0.5).float().mean() > 0.95


@pytest.mark.parametrize(
    ("shape", "layout", "view"),
    [((3, 4, 5), "NCHW", (3, 1, 1)), ((4, 5, 3), "NHWC", (1, 1, 3)), ((3,), "flat", (3,))],
)
def test_a_range_for_each_channel_lands_on_its_axis(
    shape: tuple[int, ...], layout: Layout, view: tuple[int, ...]
) -> None:
    bounds = ValueRange.of(spec(shape, layout, COLOURS))
    assert bounds.low.shape == view
    assert bounds.low.flatten().tolist() == pytest.approx(COLOURS.low)
    assert bounds.span.flatten().tolist() == pytest.approx([4.3, 4.4, 4.4])


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.floats(0, 1))
def test_unit_and_range_undo_each_other(low: float, span: float, at: float) -> None:
    bounds = ValueRange(torch.tensor([low]), torch.tensor([low + span]))
    if not bool(bounds.span > 1e-4 * max(1, abs(low))):
        return
    there = bounds.from_unit(torch.tensor([[at]]))
    assert math.isclose(bounds.to_unit(there).item(), at, abs_tol=3e-3)
