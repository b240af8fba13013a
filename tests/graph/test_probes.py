from __future__ import annotations

import numpy as np
import pytest

from cake_onnx.graph.probes import draw_probes
from cake_onnx.graph.specs import Bounds, InputSpec, Layout


def _spec(shape: tuple[int, ...] = (1, 6, 6), dtype: str = "float32", high: float = 1.0) -> InputSpec:
    layout: Layout = "NCHW" if len(shape) == 3 else "flat"
    return InputSpec("x", shape, dtype, layout, Bounds((0.0,), (high,), "test", assumed=False))


def test_there_are_typical_samples_and_odd_ones() -> None:
    probes = draw_probes(_spec(), seed=0)
    assert probes.x.shape == (len(probes), 1, 6, 6)
    assert len(set(probes.kinds)) == 6
    inside = probes.x[~probes.beyond]
    assert inside.min() == 0
    assert inside.max() == 1
    outside = probes.x[probes.beyond]
    assert outside.min() < -0.5
    assert outside.max() > 1.5
    spread = probes.x.reshape(len(probes), -1).std(axis=1)
    assert (spread == 0).sum() == 3
    assert ((spread > 0) & (spread < 0.01)).sum() == 2


def test_corners_are_at_the_ends_everywhere() -> None:
    probes = draw_probes(_spec(), seed=0)
    corners = probes.x[[i for i, kind in enumerate(probes.kinds) if "corner" in kind]]
    assert set(np.unique(corners)) == {0.0, 1.0}


def test_whole_numbers_stay_whole_and_inside() -> None:
    probes = draw_probes(_spec(dtype="uint8", high=255.0), seed=0)
    assert not probes.beyond.any()
    np.testing.assert_array_equal(probes.x, np.rint(probes.x))
    assert probes.x.min() == 0
    assert probes.x.max() == 255


def test_alike_samples_are_grouped_and_typical_ones_come_from_both_kinds() -> None:
    probes = draw_probes(_spec(), seed=0)
    groups = probes.alike()
    assert sorted(i for group in groups for i in group) == list(range(len(probes)))
    assert [probes.kinds[i] for i in probes.typical(4)] == ["a uniform sample"] * 2 + ["a normal sample"] * 2
    assert len(groups[0]) == 16


@pytest.mark.parametrize(("shape", "n"), [((3, 32, 32), 29), ((3, 224, 224), 16)])
def test_large_inputs_get_fewer_samples(shape: tuple[int, ...], n: int) -> None:
    assert len(draw_probes(_spec(shape), seed=0)) == n


def test_taking_some_keeps_what_they_are() -> None:
    probes = draw_probes(_spec(), seed=0)
    some = probes.take(np.array([0, len(probes) - 1]))
    assert some.kinds == ("a uniform sample", "a sample beyond the range")
    assert some.beyond.tolist() == [False, True]
