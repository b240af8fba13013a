from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from cake_onnx.config import parse_config
from cake_onnx.errors import UnsupportedTeacherError, UsageError
from cake_onnx.graph.export import check_export, export_student
from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.signature import read_signature
from cake_onnx.methods.lesson import choose_student
from cake_onnx.students.like_teacher import LikeTeacher, grow_down
from cake_onnx.teacher import Teacher, load_teacher

TEACHERS = ("digits_cnn", "digits_mlp_sklearn", "digits_softmax_dynamo", "moons_mlp")


@pytest.fixture(scope="module", params=TEACHERS)
def teacher(request: pytest.FixtureRequest, fixtures: Path) -> Teacher:
    return load_teacher(fixtures / f"{request.param}.onnx")


@pytest.fixture
def x(teacher: Teacher) -> Tensor:
    return torch.rand(64, *teacher.input.shape, generator=torch.Generator().manual_seed(0)) * 2


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_it_starts_as_the_teacher(teacher: Teacher, x: Tensor) -> None:
    student = LikeTeacher(teacher.prepared, teacher.input)
    torch.testing.assert_close(student(x), teacher.module(x), rtol=1e-4, atol=1e-4)


def test_it_shrinks_to_its_size_and_no_further(teacher: Teacher, x: Tensor) -> None:
    target = teacher.parameters // 3
    student = grow_down(teacher.prepared, teacher.input, target)
    sizes = [student.size]
    for way in (0.25, 0.5, 1.0):
        student.shrink(target, way, student.weigh(x, draw()))
        sizes.append(student.size)
    assert sizes == sorted(sizes, reverse=True)
    assert 0.7 * target < sizes[-1] <= target
    assert student(x).shape == (64, teacher.output.classes)
    student.shrink(target, 1.0, student.weigh(x, draw()))
    assert student.size == sizes[-1]


def test_most_of_it_still_knows_most(teacher: Teacher, x: Tensor) -> None:
    """Dropping what matters least, not at random: without any training the decisions mostly stay."""
    student = grow_down(teacher.prepared, teacher.input, int(0.7 * teacher.parameters))
    student.shrink(int(0.7 * teacher.parameters), 1.0, student.weigh(x, draw()))
    with torch.no_grad():
        same = student(x).argmax(1) == teacher.module(x).argmax(1)
    assert float(same.float().mean()) > 0.6


def test_moments_are_cut_as_the_weights_are(teacher: Teacher, x: Tensor) -> None:
    target = teacher.parameters // 2
    student = grow_down(teacher.prepared, teacher.input, target)
    doubled = {name: 2 * weight.detach() for name, weight in student.weights().items()}
    (cut,) = student.shrink(target, 1.0, student.weigh(x, draw()), [doubled])
    for name, weight in student.weights().items():
        torch.testing.assert_close(cut[name], 2 * weight.detach())


def test_it_comes_back_from_its_bytes_with_its_plan(teacher: Teacher, x: Tensor) -> None:
    target = teacher.parameters // 3
    first, second = (grow_down(teacher.prepared, teacher.input, target) for _ in range(2))
    first.shrink(target, 0.5, first.weigh(x, draw()))
    second.install_bytes(first.graph_bytes())
    torch.testing.assert_close(second(x), first(x), rtol=0, atol=0)
    for student in (first, second):
        student.shrink(target, 1.0, student.weigh(x, draw()))
    torch.testing.assert_close(second(x), first(x), rtol=0, atol=0)


def test_it_is_exported_as_a_drop_in(teacher: Teacher, x: Tensor) -> None:
    target = teacher.parameters // 3
    student = grow_down(teacher.prepared, teacher.input, target)
    student.shrink(target, 1.0, student.weigh(x, draw()))
    data = export_student(
        student, teacher.file.model, teacher.prepared, teacher.input, teacher.output, {"a": "b"}
    )
    parity = check_export(student, data, teacher.prepared, teacher.input, teacher.output)
    assert parity.max_abs_diff <= parity.tolerance
    assert len(data) < 0.8 * teacher.file.bytes
    assert np.isfinite(parity.max_abs_diff)


def test_what_is_too_small_names_what_is_possible(teacher: Teacher) -> None:
    with pytest.raises(UsageError, match=r"\d+ parameters in its narrowest form.*--compression \d"):
        grow_down(teacher.prepared, teacher.input, 5)


def test_auto_grows_the_teacher_down(teacher: Teacher) -> None:
    student = choose_student(teacher, parse_config({"compression": 3}))
    assert student.family == "like-teacher"
    assert student.shrink_to == teacher.parameters // 3


def test_auto_falls_back_to_a_family_where_it_must(teacher: Teacher) -> None:
    student = choose_student(teacher, parse_config({"compression": 3, "method": "paper"}))
    assert student.family != "like-teacher"
    assert student.shrink_to is None


def test_a_teacher_tied_to_its_batch_cannot_be_grown_down() -> None:
    """Each sample is told from the mean of all: among others it is another."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1, 6] x) => (float[1, 3] y) {
             m = ReduceMean<axes = [0]>(x)
             c = Sub(x, m)
             s = Add(c, x)
             h = MatMul(s, w)
             r = Relu(h)
             y = MatMul(r, v)
        }"""
    )
    draw = np.random.default_rng(0)
    model.graph.initializer.extend(
        numpy_helper.from_array(draw.standard_normal(shape).astype(np.float32), name)
        for name, shape in {"w": (6, 8), "v": (8, 3)}.items()
    )
    input, output = read_signature(model)
    prepared = replace(prepare(model, input, output), fixed_batch=1)
    with pytest.raises(UnsupportedTeacherError, match="tied to its batch"):
        LikeTeacher(prepared, input)
