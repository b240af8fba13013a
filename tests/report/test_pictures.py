from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

from cake_onnx.report.pictures import Pictures, Tile, strips, tiles
from cake_onnx.report.plane import region_maps


def decoded(uri: str) -> np.ndarray:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(imread(BytesIO(base64.b64decode(data)), format="png"))[..., :3]


def test_tiles_take_turns_between_the_classes(digits: Pictures) -> None:
    shown = tiles(digits)
    assert [tile.teacher for tile in shown] == [*range(10)] * 4


def test_tile_shows_the_sample_within_its_bounds() -> None:
    x = np.array([[[[-1.0, 0.0], [1.0, 3.0]]]], dtype=np.float32)
    one = np.zeros(1, dtype=int)
    (tile,) = tiles(Pictures(x, one, one, "NCHW", -np.ones(1), np.ones(1)))
    assert decoded(tile.image.uri)[..., 0] == pytest.approx(np.array([[0, 0.5], [1, 1]]), abs=0.01)


def test_layouts_of_the_same_image_look_the_same() -> None:
    x = np.random.default_rng(0).random((2, 3, 5, 7)).astype(np.float32)
    label = np.arange(2)
    nchw = Pictures(x, label, label, "NCHW", np.zeros(1), np.ones(1))
    nhwc = replace(nchw, samples=np.moveaxis(x, 1, -1), layout="NHWC")
    assert tiles(nchw) == tiles(nhwc)
    assert decoded(tiles(nchw)[1].image.uri) == pytest.approx(np.moveaxis(x[1], 0, -1), abs=0.01)


def test_bounds_of_each_channel() -> None:
    x = np.array([-1.0, 0.0, 4.0], dtype=np.float32).reshape(1, 3, 1, 1)
    one = np.zeros(1, dtype=int)
    low, high = np.array([-1.0, -1.0, 0.0]), np.array([1.0, 1.0, 4.0])
    first = Pictures(x, one, one, "NCHW", low[:, None, None], high[:, None, None])
    for pictures in (first, Pictures(x.reshape(1, 1, 1, 3), one, one, "NHWC", low, high)):
        (tile,) = tiles(pictures)
        assert decoded(tile.image.uri)[0, 0] == pytest.approx([0, 0.5, 1], abs=0.01)


@pytest.mark.parametrize("sides", [(4, 1), (1, 25), (4, 25)])
def test_strips_of_series_with_bounds_of_their_own(sides: tuple[int, ...]) -> None:
    low = np.random.default_rng(0).integers(-8, 8, sides).astype(float)  # numbers that all types hold exactly
    halves, labels = np.broadcast_to(low + 0.5, (6, 4, 25)), np.arange(6) % 2
    own = strips(Pictures(halves, labels, labels, "flat", low, low + 1))
    same = np.full((6, 4, 25), 0.5)
    assert own == strips(Pictures(same, labels, labels, "flat", np.zeros(1), np.ones(1)))


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_large_images_are_averaged_down(channels: int) -> None:
    x = np.full((1, channels, 224, 100), 0.25, dtype=np.float32)
    one = np.zeros(1, dtype=int)
    (tile,) = tiles(Pictures(x, one, one, "NCHW", np.zeros(1), np.ones(1)))
    pixels = decoded(tile.image.uri)
    assert pixels.shape == (64, 64, 3)
    assert pixels == pytest.approx(0.25, abs=0.01)


def test_regions_tell_how_much_of_the_plane_differs(moons: Pictures) -> None:
    maps = region_maps(moons)
    assert maps is not None
    assert moons.regions is not None
    differ = 100 * float((moons.regions.teacher != moons.regions.student).mean())
    assert f"{differ:.1f}%" in maps[1].alt
    assert maps[0].uri != maps[1].uri


def test_regions_of_one_class_and_of_many(moons: Pictures) -> None:
    assert moons.regions is not None
    flat = np.zeros_like(moons.regions.teacher)
    many = np.arange(flat.size).reshape(flat.shape) % 1000
    for grid in (flat, many):
        assert region_maps(replace(moons, regions=replace(moons.regions, teacher=grid, student=grid)))


def test_each_input_has_one_kind_of_picture(digits: Pictures, moons: Pictures, table: Pictures) -> None:
    kinds = [[bool(tiles(p)), bool(region_maps(p)), bool(strips(p))] for p in (digits, moons, table)]
    assert kinds == [[True, False, False], [False, True, True], [False, False, True]]


@pytest.mark.parametrize("shape", [(1,), (3000,), (4, 25)])
def test_strips_of_any_flat_shape(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random((300, *shape)).astype(np.float32)
    labels = np.arange(300) % 4
    image = strips(Pictures(x, labels, labels, "flat", np.zeros(1), np.ones(1)))
    assert image is not None
    assert f"{int(np.prod(shape))} features, 4 classes" in image.alt


def test_no_samples_no_picture(table: Pictures, digits: Pictures) -> None:
    none = np.zeros(0, dtype=int)
    assert strips(replace(table, samples=table.samples[:0], teacher=none, student=none)) is None
    assert tiles(replace(digits, samples=digits.samples[:0], teacher=none, student=none)) == []


def drawn(tile: Tile) -> str:
    kind, _, data = tile.image.uri.partition(",")
    assert kind == "data:image/svg+xml;base64"
    return base64.b64decode(data).decode()


@pytest.mark.parametrize(("channels", "length", "curves"), [(1, 40, 1), (5, 3000, 5), (61, 9, 12), (3, 1, 3)])
def test_a_series_is_a_curve_for_each_channel(channels: int, length: int, curves: int) -> None:
    x = np.random.default_rng(0).random((30, channels, length)).astype(np.float32)
    labels = np.arange(30) % 4
    shown = tiles(Pictures(x, labels, labels, "series", np.zeros((channels, 1)), np.ones((channels, 1))))
    assert [tile.teacher for tile in shown] == [0, 1, 2, 3] * 6
    assert drawn(shown[0]).count('<g id="line2d') == curves
    assert strips(Pictures(x, labels, labels, "series", np.zeros(1), np.ones(1))) is None


def test_a_series_is_drawn_between_its_own_bounds() -> None:
    x = np.random.default_rng(0).integers(0, 9, (1, 2, 25)) / 8  # numbers that all types hold exactly
    low, label = np.array([[0.0], [-4.0]]), np.zeros(1, dtype=int)
    plain, own = Pictures(x, label, label, "series", np.zeros(1), np.ones(1)), low + x * 2
    assert tiles(plain) == tiles(Pictures(own, label, label, "series", low, low + 2))
    assert tiles(plain) != tiles(replace(plain, samples=own))
