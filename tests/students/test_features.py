"""What the layers of a student grown down read, held against what they read in its teacher."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cake_onnx.config import parse_config
from cake_onnx.distill import Distillation, Features
from cake_onnx.distill.features import mismatch as difference
from cake_onnx.graph.taps import Taps
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.rounds import train_in_rounds
from cake_onnx.methods.settings import Narrowing, RoundSettings
from cake_onnx.methods.training import Lesson
from cake_onnx.students.like_teacher import LikeTeacher, grow_down
from cake_onnx.teacher import Teacher, load_teacher

TEACHERS = {"digits_cnn": 4, "digits_softmax_dynamo": 5}
"""Tensors, besides the input, that a weight is multiplied with."""


@pytest.fixture(scope="module", params=list(TEACHERS))
def teacher(request: pytest.FixtureRequest, fixtures: Path) -> Teacher:
    return load_teacher(fixtures / f"{request.param}.onnx")


@pytest.fixture
def x(teacher: Teacher) -> Tensor:
    return torch.rand(64, *teacher.input.shape, generator=torch.Generator().manual_seed(0)) * 2


def mismatch(teacher: Teacher, student: LikeTeacher, x: Tensor) -> float:
    taps = Taps(teacher.module.get_submodule("body"), student.teacher_places)
    with Features(taps, student).watched() as compared, torch.no_grad():
        teacher.module(x)
        student(x)
        return float(compared())


def shrunk(teacher: Teacher, x: Tensor, way: float) -> LikeTeacher:
    student = grow_down(teacher.prepared, teacher.input, teacher.parameters // 2)
    student.shrink(teacher.parameters // 2, way, student.weigh(x, torch.Generator().manual_seed(1)))
    return student


@pytest.mark.parametrize("name", TEACHERS)
def test_every_hidden_layer_is_compared(fixtures: Path, name: str) -> None:
    teacher = load_teacher(fixtures / f"{name}.onnx")
    student = LikeTeacher(teacher.prepared, teacher.input)
    assert len(student.kept) == TEACHERS[name]
    assert student.kept.keys() == student.teacher_places.keys()


@pytest.mark.parametrize("name", ["digits_mlp_sklearn", "moons_mlp"])
def test_dense_layers_alone_are_not_compared(fixtures: Path, name: str) -> None:
    teacher = load_teacher(fixtures / f"{name}.onnx")
    assert not LikeTeacher(teacher.prepared, teacher.input).kept


def test_it_starts_without_a_difference(teacher: Teacher, x: Tensor) -> None:
    assert mismatch(teacher, LikeTeacher(teacher.prepared, teacher.input), x) < 1e-8


def test_what_is_left_is_held_against_the_right_channels(teacher: Teacher, x: Tensor) -> None:
    """What the first layer computes of the channels it still has is what it computed before."""
    student = shrunk(teacher, x, 1.0)
    first = min(student.kept, key=lambda name: student.teacher_places[name])
    later = student.kept
    student.kept = {first: later[first]}
    assert mismatch(teacher, student, x) < 1e-8
    axis, channels = later[first]
    student.kept = {first: (axis, channels.roll(1))}
    assert mismatch(teacher, student, x) > 1e-3


def test_dropping_channels_makes_a_difference(teacher: Teacher, x: Tensor) -> None:
    assert mismatch(teacher, shrunk(teacher, x, 1.0), x) > 1e-4


def test_nothing_is_kept_outside(teacher: Teacher, x: Tensor) -> None:
    student = shrunk(teacher, x, 1.0)
    before = mismatch(teacher, student, x)
    student(x)
    again = copy.deepcopy(student)  # tensors with a gradient history could not be copied
    assert mismatch(teacher, again, x) == before


def test_bytes_hold_which_channels_are_left(teacher: Teacher, x: Tensor) -> None:
    student = shrunk(teacher, x, 0.5)
    other = grow_down(teacher.prepared, teacher.input, teacher.parameters // 2)
    other.install_bytes(student.graph_bytes())
    assert mismatch(teacher, other, x) == mismatch(teacher, student, x)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"), [((40, 6), 1), ((40, 5, 6), 2), ((40, 6, 5), 1), ((40, 6, 4, 3), 1)]
)
def test_the_loss_and_its_slope_are_those_of_the_formula(
    shape: tuple[int, ...], axis: int, last: bool, kind: torch.dtype
) -> None:
    draw, channels = torch.Generator().manual_seed(3), torch.tensor([4, 0, 5])
    wanted = torch.randn(shape, generator=draw).to(kind)
    if last:
        wanted = wanted.movedim(1, -1).contiguous().movedim(-1, 1)
    target = wanted.index_select(axis, channels).float()
    given = torch.randn(target.shape, generator=draw).to(kind).requires_grad_()
    plain = given.detach().float().requires_grad_()
    loss = difference({"x": wanted}, {"x": given}, {"x": (axis, channels)})
    expected = (plain - target).square().mean() / target[::8].var(correction=0)
    loss.backward()
    expected.backward()
    rtol, atol = (2e-2, 1e-5) if kind == torch.bfloat16 else (1e-5, 1e-8)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5 if kind == torch.float32 else 1e-2)
    assert given.grad is not None
    assert given.grad.dtype == kind
    torch.testing.assert_close(given.grad.float(), plain.grad, rtol=rtol, atol=atol)


def after_rounds(lesson: Lesson, features: float) -> float:
    """Difference of the layers after a few rounds."""
    settings = RoundSettings(
        samples=20,
        pool=500,
        bank=1000,
        distillation=Distillation(steps=6, batch=64, features=features),
        narrowing=Narrowing(notches=4, samples=64),
    )
    train_in_rounds(lesson, 12, settings=settings)
    assert isinstance(lesson.student, LikeTeacher)
    x = lesson.prior.draw(256, torch.Generator().manual_seed(5))
    taps = Taps(lesson.teacher.get_submodule("body"), lesson.student.teacher_places)
    with Features(taps, lesson.student).watched() as compared, torch.no_grad():
        lesson.teacher(x)
        lesson.student(x)
        return float(compared())


def test_rounds_bring_the_layers_closer(fixtures: Path) -> None:
    teacher = load_teacher(fixtures / "digits_cnn.onnx", (0.0, 1.0))
    config = parse_config({"compression": 4, "device": "cpu"})

    def new() -> Lesson:
        return prepare_lesson(teacher, choose_student(teacher, config), config)[0]

    assert after_rounds(new(), 1.0) < 0.85 * after_rounds(new(), 0.0)
