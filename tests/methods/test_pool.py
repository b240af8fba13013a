from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.methods.pool import draw_chosen, surest_of_each_class
from cake_onnx.methods.rounds import Rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.training import Lesson
from cake_onnx.priors import ImagePrior, ValueRange

PICTURES = InputSpec("x", (1, 8, 8), "float32", "NCHW", Bounds((0.0,), (1.0,), "test", False))


def prior() -> ImagePrior:
    return ImagePrior(PICTURES, (1, 8, 8))


def mostly_dark(x: Tensor) -> Tensor:
    """Sees class 2 in the brightest tenth, class 0 in nearly all others, class 1 in none but the darkest."""
    light = x.flatten(1).mean(1)
    return torch.stack([torch.zeros_like(light), 5 * (0.1 - light), 5 * (light - 0.8)], 1)


def test_the_surest_of_every_class_come_first() -> None:
    logits = torch.tensor([[3.0, 0, 0], [9.0, 0, 0], [0, 1.0, 0], [6.0, 0, 0], [0, 0, 4.0], [0, 2.0, 0]])
    assert surest_of_each_class(logits).tolist() == [1, 4, 5, 3, 2, 0]


def test_sure_is_told_from_the_mean_of_the_logits() -> None:
    # A constant over all logits changes no probability.
    logits = torch.tensor([[10.0, 9.0], [2.0, 0.0]])
    assert surest_of_each_class(logits).tolist() == [1, 0]


def test_rare_classes_become_as_many_as_there_are() -> None:
    def draw(candidates: int) -> Tensor:
        x = draw_chosen(
            prior(), mostly_dark, 300, candidates, torch.device("cpu"), torch.Generator().manual_seed(0)
        )
        assert x.shape == (300, 1, 8, 8)
        return torch.bincount(mostly_dark(x).argmax(1), minlength=3)

    assert draw(1).min() < 50
    assert draw(8).min() == 100


def test_one_candidate_is_taken_and_the_teacher_not_asked() -> None:
    def asked(x: Tensor) -> Tensor:
        raise AssertionError

    x = draw_chosen(prior(), asked, 10, 1, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert torch.equal(x, prior().draw(10, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("shrink_to", [None, 100])
@pytest.mark.parametrize("pictures", [False, True])
def test_choosing_is_for_pictures_and_students_grown_down(
    new_lesson: Callable[..., Lesson], pictures: bool, shrink_to: int | None
) -> None:
    lesson = dataclasses.replace(new_lesson(), shrink_to=shrink_to)
    if pictures:
        lesson = dataclasses.replace(
            lesson,
            teacher=nn.Sequential(nn.Flatten(), nn.Linear(64, 3)),
            prior=prior(),
            bounds=ValueRange.of(PICTURES),
            shape=PICTURES.shape,
            classes=3,
        )
    chosen = pictures and shrink_to is not None
    settings = Rounds(lesson, 2, RoundSettings(pool=500, samples=0)).settings
    assert settings.candidates == (5 if chosen else 1)
    labels = 0.5 * 30 * 256
    assert settings.passes_of(2) == 2 * labels + (0.5 * 5 * (500 + 2 * 10) if chosen else 0)
