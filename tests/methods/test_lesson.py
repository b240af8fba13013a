from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cake_onnx.config import parse_config
from cake_onnx.distill import Distillation
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.rounds import train_in_rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.teacher import Teacher, load_teacher


@pytest.fixture(scope="module")
def teacher(fixtures: Path) -> Teacher:
    return load_teacher(fixtures / "moons_mlp.onnx")


def test_the_student_is_at_most_the_size_asked_for(teacher: Teacher) -> None:
    for compression in (2, 4, 8):
        student = choose_student(teacher, parse_config({"compression": compression}))
        assert student.parameters <= teacher.parameters / compression


def test_the_seed_decides_the_students_first_weights(teacher: Teacher) -> None:
    first, second, third = (
        choose_student(teacher, parse_config({"seed": seed, "student": "mlp"})).module.state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], third[name]) for name in first)


def test_a_lesson_holds_what_the_options_say(teacher: Teacher) -> None:
    config = parse_config({"device": "cpu", "prior": "uniform", "seed": 5})
    student = choose_student(teacher, config)
    lesson, why = prepare_lesson(teacher, student, config)
    assert lesson.prior.name == "uniform"
    assert why == "it was named by --prior"
    assert lesson.device.torch_device.type == "cpu"
    assert (lesson.shape, lesson.classes, lesson.seed) == (teacher.input.shape, teacher.output.classes, 5)
    assert lesson.bounds.low.flatten().tolist() == pytest.approx(list(teacher.input.bounds.low))
    x = lesson.prior.draw(7, torch.Generator())
    assert lesson.teacher(x).shape == lesson.student(x).shape == (7, teacher.output.classes)
    assert not any(weight.requires_grad for weight in lesson.teacher.parameters())


def test_a_large_network_learns_in_parts(fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole method, its layers compared, with less memory than a batch needs."""
    teacher = load_teacher(fixtures / "digits_cnn.onnx", (0.0, 1.0))
    config = parse_config({"device": "cpu", "compression": 3})
    logits = []
    for share in (0.4, 1e-4):
        monkeypatch.setattr("cake_onnx.devices._SHARE", share)
        lesson, _ = prepare_lesson(teacher, choose_student(teacher, config), config)
        assert (lesson.device.part is None) is (share == 0.4)
        settings = RoundSettings(
            samples=20, pool=500, bank=1000, distillation=Distillation(steps=3, batch=64)
        )
        x = lesson.prior.draw(300, torch.Generator().manual_seed(0))
        train_in_rounds(lesson, 3, settings=settings)
        logits.append(lesson.student(x).argmax(1))
    assert float((logits[0] == logits[1]).float().mean()) > 0.5


@pytest.mark.parametrize(
    ("name", "operations", "precision"),
    [
        ("moons_mlp", None, "float32"),
        ("digits_cnn", None, "float32"),
        ("moons_mlp", 0, "float32"),
        ("digits_cnn", 0, "bfloat16 autocast"),
    ],
)
def test_a_light_network_stays_in_float32(
    name: str, operations: int | None, precision: str, fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    if operations is not None:
        monkeypatch.setattr("cake_onnx.teacher._LIGHT_CONVOLUTIONS", operations)
    teacher, config = load_teacher(fixtures / f"{name}.onnx"), parse_config({"device": "cpu"})
    lesson, _ = prepare_lesson(teacher, choose_student(teacher, config), config)
    assert repr(lesson.device) == f"cpu, {precision}"
