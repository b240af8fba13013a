from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.methods.fitted import passes_expected
from cake_onnx.methods.pool import draw_chosen, information, is_weighed, suited, surest_of_each_class
from cake_onnx.methods.rounds import Rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.training import Lesson
from cake_onnx.priors import ImagePrior, ValueRange

PICTURES = InputSpec("x", (1, 8, 8), "float32", "NCHW", Bounds((0.0,), (1.0,), "test", False))


def prior() -> ImagePrior:
    return ImagePrior(PICTURES, (1, 8, 8))


def of_pictures(lesson: Lesson, teacher: nn.Module) -> Lesson:
    """The lesson of a teacher of three classes of pictures."""
    return dataclasses.replace(
        lesson,
        teacher=teacher,
        prior=prior(),
        bounds=ValueRange.of(PICTURES),
        shape=PICTURES.shape,
        classes=3,
    )


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
        lesson = of_pictures(lesson, nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    chosen = pictures and shrink_to is not None
    settings = Rounds(lesson, 2, RoundSettings(pool=500, samples=0)).settings
    assert settings.candidates == (5 if chosen else 1)
    assert settings.asked == (500 if pictures else 0)
    labels = 0.5 * 30 * 256
    assert settings.passes_of(2) == 2 * labels + 0.5 * settings.asked + (
        0.5 * 5 * (500 + 2 * 50) if chosen else 0
    )


class Eight(nn.Module):
    """Of one class, but for what is dark in the middle; counts what it is asked."""

    asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        light = x.mean((1, 2, 3))[:, None] > 0.2
        return torch.where(light, torch.tensor([9.0, 0, 0]), 9 * x[:, 0, 3, :3])


@pytest.mark.parametrize("shrink_to", [None, 100])
def test_where_kinds_are_weighed_classes_are_evened_from_scratch(
    new_lesson: Callable[..., Lesson], shrink_to: int | None
) -> None:
    teacher, evens = Eight(), shrink_to is None
    lesson = of_pictures(dataclasses.replace(new_lesson(), shrink_to=shrink_to), teacher)
    run = Rounds(lesson, 2, RoundSettings(pool=4000, samples=0))
    assert is_weighed(run.lesson.prior)
    assert run.settings.candidates == (5 if evens else 1)
    size = run.settings.pool
    # Of the pool the spread of its logits is asked too.
    assert teacher.asked == run.settings.asked + (5 * size if evens else 0) + size
    as_they_come = run.lesson.prior.draw(size, torch.Generator().manual_seed(0))
    before, evened = (
        torch.bincount(teacher(x).argmax(1), minlength=3).min()
        for x in (as_they_come, run.pool.state()["x"].float())
    )
    assert bool(evened > 2 * before) is evens


@pytest.mark.parametrize("shrink_to", [None, 100])
def test_the_passes_of_a_run_are_told_before_the_teacher_is_asked(
    new_lesson: Callable[..., Lesson], shrink_to: int | None
) -> None:
    mixed = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    lessons = [
        of_pictures(dataclasses.replace(new_lesson(), shrink_to=shrink_to), teacher)
        for teacher in (mixed, Eight())
    ]
    told = [passes_expected(lesson, 2) for lesson in lessons]
    assert told[0] == told[1]
    taken = [Rounds(lesson, 2).settings.passes_of(2) for lesson in lessons]
    assert told[0] == (min(taken), max(taken))
    assert (taken[0] < taken[1]) is (shrink_to is None)
    assert taken[0] != taken[1]


class Rare(nn.Module):
    """Calls all pictures one class but for the lightest, of which there are few, and the darkest."""

    def forward(self, x: Tensor) -> Tensor:
        light = x.flatten(1).mean(1)
        return 90 * torch.stack([torch.zeros_like(light), light - 0.93, 0.1 - light], 1)


def of_rare(lesson: Lesson, candidates: int = 5) -> Rounds:
    """Four rounds from scratch."""
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    lesson = dataclasses.replace(of_pictures(lesson, Rare()), student=student)
    return Rounds(lesson, 4, RoundSettings(pool=4000, samples=0, candidates=candidates))


@pytest.mark.parametrize("candidates", [1, 5])
def test_from_scratch_nothing_rare_is_lost_and_what_is_new_comes(
    new_lesson: Callable[..., Lesson], candidates: int
) -> None:
    run = of_rare(new_lesson(), candidates)
    assert is_weighed(run.lesson.prior)

    def held() -> tuple[set[bytes], set[bytes]]:
        x = run.pool.state()["x"]
        rare = Rare()(x.float()).argmax(1) == 1
        return {each.numpy().tobytes() for each in x[rare]}, {each.numpy().tobytes() for each in x[~rare]}

    rare, common = held()
    run.play(0)
    rare_now, common_now = held()
    assert common_now - common
    assert (rare < rare_now) is (candidates > 1)
    assert len(run.pool) == run.settings.pool


def test_what_the_classes_of_the_pool_are_is_saved(new_lesson: Callable[..., Lesson]) -> None:
    run, again = of_rare(new_lesson()), of_rare(new_lesson())
    run.play(0)
    again.restore({name: value.clone() for name, value in run.state().items()})
    for each in (run, again):
        each.play(1)
    kept, taken_up = run.pool.state(), again.pool.state()
    assert all(torch.equal(kept[name], taken_up[name]) for name in kept)


def test_information_is_what_sure_and_various_answers_tell() -> None:
    sure = 50 * torch.eye(4)
    assert information(sure) == pytest.approx(math.log(4))
    assert information(sure[:1].expand(9, 4)) == pytest.approx(0, abs=1e-9)
    assert information(torch.zeros(9, 4)) == pytest.approx(0, abs=1e-9)
    assert information(torch.cat([sure, torch.zeros(4, 4)])) == pytest.approx(math.log(4) / 2)


def test_the_more_is_drawn_of_what_the_teacher_tells_apart() -> None:
    def of_dark_ground_alone(x: Tensor) -> Tensor:
        x = x.flatten(1)
        light = (x.mean(1) > 0.5) | (x.median(1).values > 0.1)
        return torch.where(light[:, None], torch.tensor([9.0, 0, 0]), 60 * x[:, [0, 27, 36]])

    plain = prior()
    draw = torch.Generator().manual_seed(3)
    told = suited(plain, of_dark_ground_alone, 2000, torch.device("cpu"), draw)
    shares = [(each.grounds(each.draw(1000, draw)) == 0).float().mean() for each in (plain, told)]
    assert shares[0] < 0.5
    assert shares[1] > 0.85
    assert told.worth is not None
    assert told.worth.shape == (4, 3)
    assert told.worth.max() == 1


@pytest.mark.parametrize(
    ("classes", "share", "weighed"),
    [
        (2, 0.8, False),
        (2, 0.95, True),
        (10, 0.4, False),
        (10, 0.6, True),
        (100, 0.3, False),
        (100, 0.5, True),
    ],
)
def test_too_many_of_one_class_are_told_from_an_even_share(classes: int, share: float, weighed: bool) -> None:
    def teacher(x: Tensor) -> Tensor:
        """Gives the darkest part class 0, the rest evenly to the others."""
        rank = x.flatten(1).mean(1).argsort().argsort() / len(x)
        others = 1 + torch.arange(len(x)) % (classes - 1)
        return 60 * torch.eye(classes)[torch.where(rank < share, 0, others)]

    told = suited(prior(), teacher, 800, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert (told.worth is not None) is weighed


@pytest.mark.parametrize(
    "teacher",
    [
        pytest.param(lambda x: torch.zeros(len(x), 3), id="of one answer"),
        pytest.param(lambda x: torch.full((len(x), 3), math.nan), id="of no numbers"),
        pytest.param(lambda x: 60 * torch.eye(3)[torch.arange(len(x)) % 3], id="of many classes"),
        pytest.param(lambda x: torch.tensor([[60.0, 0, 0]]).expand(len(x), 3), id="of one class"),
    ],
)
def test_a_teacher_that_shows_nothing_to_go_by_leaves_the_prior_as_it_is(
    teacher: Callable[[Tensor], Tensor],
) -> None:
    plain = prior()
    assert suited(plain, teacher, 100, torch.device("cpu"), torch.Generator()) is plain


def test_a_ground_is_what_most_of_a_picture_is() -> None:
    x = torch.zeros(3, 1, 8, 8)
    x[1] = 0.5
    x[2] = 1
    x[:, :, :3] = torch.rand(3, 1, 3, 8)
    assert prior().grounds(x).tolist() == [0, 1, 2]


def test_what_is_worth_nothing_is_not_drawn() -> None:
    worth = torch.zeros(4, 3)
    worth[3, 2] = 0.5  # strokes on light ground
    x = prior().valued(worth).draw(200, torch.Generator().manual_seed(0))
    assert x.shape == (200, 1, 8, 8)
    assert (prior().grounds(x) == 2).all()
