from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cake_onnx.devices import Device, generator
from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.judge import Suite
from cake_onnx.losses import margin
from cake_onnx.methods.held_out import _between, held_out_suites
from cake_onnx.methods.rounds import Rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.training import Lesson
from cake_onnx.priors import TabularPrior, UniformPrior, ValueRange

SPEC = InputSpec("x", (4,), "float32", "flat", Bounds((-1.0,), (3.0,), "test", False))
PRIOR = TabularPrior(SPEC)
WEIGHT = torch.randn(5, 4, generator=generator(0))
CLASSES = 5


def teacher(x: Tensor) -> Tensor:
    return 3 * (x - 1) @ WEIGHT.T


def suites(seed: int = 0, size: int = 300) -> list[Suite]:
    return held_out_suites(teacher, PRIOR, SPEC, CLASSES, seed, size, torch.device("cpu"))


def decisions(x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
    return teacher(torch.from_numpy(x)).argmax(1)


def test_there_are_five_suites_in_the_order_of_their_weight() -> None:
    assert [(suite.name, suite.role) for suite in suites()] == [
        ("held-out samples", "held-out"),
        ("samples between classes", "held-out"),
        ("samples at the decision boundary", "other"),
        ("fresh prior samples", "other"),
        ("uniform noise", "baseline"),
    ]


def test_suites_are_of_the_size_and_inside_the_bounds() -> None:
    for suite in suites(size=300):
        assert suite.x.shape[1:] == (4,)
        assert suite.x.dtype == np.float32
        assert suite.x.min() >= -1
        assert suite.x.max() <= 3
        assert 150 < len(suite.x) <= 300


@pytest.mark.parametrize("size", [1, 5, 249, 251, 520])
def test_any_size_gives_samples(size: int) -> None:
    made = suites(size=size)
    assert len(made[0].x) == max(1, size // CLASSES) * CLASSES
    assert all(len(suite.x) for suite in made)


def test_the_seed_decides() -> None:
    first, second, third = suites(1), suites(1), suites(2)
    assert all(np.array_equal(a.x, b.x) for a, b in zip(first, second, strict=True))
    assert not any(np.array_equal(a.x[:50], b.x[:50]) for a, b in zip(first, third, strict=True))


class Recording(torch.nn.Module):
    """The teacher, and everything it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        return teacher(x)


def test_no_sample_is_one_the_student_was_trained_on() -> None:
    cpu = Device(torch.device("cpu"), None)
    training, judging = Recording(), Recording()
    lesson = Lesson(training, torch.nn.Linear(4, 5), PRIOR, ValueRange.of(SPEC), (4,), CLASSES, cpu, seed=0)
    # As many samples as the pool is drawn in at a time: the same generator would draw the same ones.
    run = Rounds(lesson, 2, RoundSettings(samples=250, pool=500))
    run.play(0)
    run.play(1)
    held_out = held_out_suites(judging, PRIOR, SPEC, CLASSES, 0, 500, torch.device("cpu"))
    trained = torch.cat(training.seen)
    # Where samples start is held out as well as where they end.
    for x in [*judging.seen, *(torch.from_numpy(suite.x) for suite in held_out)]:
        apart = torch.cdist(x, trained).min(1).values
        inner = ((x > -1) & (x < 3)).all(1)  # corners of the box are common to all
        # Half precision, in which the pool is kept, would move a shared sample by less than this.
        assert float((apart[inner] < 1e-3).float().mean()) < 0.01


def test_held_out_samples_win_the_class_they_were_sent_to_and_vary() -> None:
    counts = torch.bincount(decisions(suites()[0].x), minlength=CLASSES)
    # every class is wanted 60 times
    assert bool((counts > 30).all())


def test_samples_between_classes_lie_between_two_of_them() -> None:
    ends = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [0.2, 0.1], [9.0, 1.0]]).repeat(40, 1)
    classes = torch.tensor([0, 1, 2, 0, 1]).repeat(40)
    between = _between(ends, classes, generator(0))
    assert 0 < len(between) < 200

    def on_a_crossing(point: Tensor) -> bool:
        for i in range(5):
            for j in range(5):
                if classes[i] != classes[j]:
                    along = ends[j] - ends[i]
                    t = float((point - ends[i]) @ along / (along @ along))
                    if -1e-6 <= t <= 1 + 1e-6 and torch.dist(ends[i] + t * along, point) < 1e-4:
                        return True
        return False

    assert all(on_a_crossing(point) for point in between)


def test_samples_between_classes_cross_boundaries() -> None:
    made = suites()
    between, fresh = (margin(teacher(torch.from_numpy(suite.x))).mean() for suite in (made[1], made[3]))
    assert between < fresh


def test_samples_at_the_boundary_lie_nearer_to_it_than_all_others() -> None:
    made = {suite.name: margin(teacher(torch.from_numpy(suite.x))).median() for suite in suites()}
    nearest = made.pop("samples at the decision boundary")
    assert nearest < 0.7 * min(made["held-out samples"], made["fresh prior samples"], made["uniform noise"])


def test_a_teacher_with_one_decision_still_gives_samples_between() -> None:
    made = held_out_suites(
        lambda x: torch.cat([x[:, :1] * 0 + 9, x[:, :1]], 1),
        UniformPrior(SPEC), SPEC, 2, 0, 40, torch.device("cpu"),
    )  # fmt: skip
    assert len(made[1].x) > 0
