"""The guess at a scale that nobody stated: it moves with the scale, and says nothing without evidence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from cake_onnx.graph.specs import Bounds, InputSpec, Layout
from cake_onnx.priors import probe_scale
from cake_onnx.teacher import load_teacher


def _spec(shape: tuple[int, ...], layout: Layout, dtype: str = "float32") -> InputSpec:
    return InputSpec("x", shape, dtype, layout, Bounds((0.0,), (1.0,), "assumed", assumed=True))


@pytest.mark.parametrize("factor", [0.25, 1.0, 16.0])
def test_half_way_is_where_the_answers_turn(factor: float) -> None:
    def teacher(x: Tensor) -> Tensor:
        # One of two classes by the sign of the first value, the surer the further it is from 0.
        return torch.stack([x[:, 0], -x[:, 0]], 1) * 8 / factor

    found = probe_scale(teacher, _spec((5,), "flat"))
    assert found is not None
    assert found.quarter < found.half < found.most
    assert 0.1 * factor < found.half < factor
    one = probe_scale(lambda x: teacher(x * factor), _spec((5,), "flat"))
    assert one is not None
    assert found.half / one.half == pytest.approx(factor, rel=0.05)
    assert (found.low, found.high) == (-found.high, 2 ** round(torch.tensor(found.high).log2().item()))


def test_a_shipped_teacher_of_pixels_is_guessed_and_the_same_behind_a_division(fixtures: Path) -> None:
    teacher = load_teacher(fixtures / "digits_cnn.onnx")
    unit = probe_scale(teacher.module, teacher.input)
    assert unit is not None
    assert (unit.low, unit.high) == (0.0, 1.0)
    assert "a guess" in str(unit)
    assert "0 to 1" in str(unit)
    bytes_ = probe_scale(lambda x: teacher.module(x / 255), teacher.input)
    assert bytes_ is not None
    assert (bytes_.low, bytes_.high) == (0.0, 255.0)
    assert bytes_.half == pytest.approx(255 * unit.half, rel=0.1)


def test_a_teacher_that_always_says_the_same_tells_nothing() -> None:
    assert probe_scale(lambda x: torch.zeros(len(x), 3) * x[:, :1], _spec((4,), "flat")) is None


def test_large_inputs_and_whole_numbers_are_not_probed() -> None:
    def fails(x: Tensor) -> Tensor:
        raise AssertionError("asked")

    assert probe_scale(fails, _spec((3, 224, 224), "NCHW")) is None
    assert probe_scale(fails, _spec((3, 8, 8), "NCHW", "uint8")) is None
