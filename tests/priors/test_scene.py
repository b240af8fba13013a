"""Scenes: what colour pictures have that other kinds have not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.priors import ImagePrior
from cake_onnx.priors import scene as scene_module
from cake_onnx.priors.drawing import draw_leaves, draw_object
from cake_onnx.priors.scene import draw_scene

SIZE = (32, 32)


def new(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def edges(pictures: Tensor) -> Tensor:
    """How much neighbours differ, at the steepest of each picture's rows."""
    return (pictures[..., 1:] - pictures[..., :-1]).abs().amax((1, 3)).median(1).values


def test_scenes_have_more_edges_than_soft_shapes() -> None:
    sharp = edges(draw_scene(200, 3, SIZE, new(0))).median()
    soft = max(float(edges(kind(200, 3, SIZE, new(0))).median()) for kind in (draw_leaves, draw_object))
    assert sharp > 1.5 * soft


def test_many_are_drawn_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_module, "_ELEMENTS", 3 * 32 * 32 * 4)
    pictures = draw_scene(10, 3, SIZE, new(0))
    assert pictures.shape == (10, 3, *SIZE)
    assert len(pictures.flatten(1).unique(dim=0)) == 10
    assert torch.equal(pictures[:4], draw_scene(4, 3, SIZE, new(0)))


def test_colour_pictures_have_scenes_and_grey_ones_have_none() -> None:
    def kinds(channels: int) -> set[str]:
        shape = (channels, 8, 8)
        spec = InputSpec("x", shape, "float32", "NCHW", Bounds((0.0,), (1.0,), "test", False))
        return {kind.__name__ for kind in ImagePrior(spec, shape).kinds}

    assert "draw_scene" in kinds(3)
    assert "draw_scene" not in kinds(1)
