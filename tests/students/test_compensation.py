"""What stays makes up for what goes, as far as it can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor

from cake_onnx.graph.channels import follow_channels
from cake_onnx.graph.channels.narrow import narrow
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.specs import InputSpec
from cake_onnx.students.compensation import compensated, second_moments
from cake_onnx.students.like_teacher import LikeTeacher, grow_down
from cake_onnx.teacher import Teacher, load_teacher

TEACHERS = ("digits_cnn", "digits_mlp_sklearn", "digits_softmax_dynamo", "moons_mlp")


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def shrunk(teacher: Teacher, x: Tensor, seen: Tensor | None) -> LikeTeacher:
    target = int(0.6 * teacher.parameters)
    student = grow_down(teacher.prepared, teacher.input, target)
    student.shrink(target, 1.0, student.weigh(x, draw()), (), seen)
    return student


@pytest.mark.parametrize("name", TEACHERS)
def test_a_student_that_makes_up_is_nearer_to_its_teacher(fixtures: Path, name: str) -> None:
    teacher = load_teacher(fixtures / f"{name}.onnx")
    seen, new = (
        2 * torch.rand(256, *teacher.input.shape, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 1)
    )
    students = [shrunk(teacher, seen, given) for given in (None, seen)]
    with torch.no_grad():
        wanted = teacher.module(new)
        plain, made_up = (float((student(new) - wanted).square().mean()) for student in students)
    assert made_up < 0.7 * plain


def test_what_another_channel_repeats_is_not_missed(tmp_path: Path) -> None:
    """The third channel is half the first plus the second, in every pixel: two are as good as three."""
    student = LikeTeacher(*_of_a_file(tmp_path / "teacher.onnx"))
    x = torch.rand(64, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    channels = follow_channels(student.model(), student.input)
    label = channels.labels["second"][1]
    assert label is not None
    gone = channels.items.roots(int(label[2]))
    told = second_moments(student, student.taps, student.read, x)
    made_up = narrow(replace(channels, model=compensated(channels, gone, told)), gone)
    wanted = _says(channels.model, x)
    np.testing.assert_allclose(_says(made_up, x), wanted, rtol=0.02, atol=0.02)
    assert np.abs(_says(narrow(channels, gone), x) - wanted).max() > 0.2


def _of_a_file(path: Path) -> tuple[Prepared, InputSpec]:
    generator = np.random.default_rng(0)
    first = generator.uniform(0.1, 1, (3, 1, 3, 3))
    first[2] = 0.5 * first[0] + first[1]
    stored = {"first": first, "second": generator.normal(size=(4, 3, 3, 3)), "head": np.eye(4, 5)}
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "head"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "pairs",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in stored.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    teacher = load_teacher(path)
    return teacher.prepared, teacher.input


def _says(model: ModelProto, x: Tensor) -> npt.NDArray[np.float32]:
    session = open_session(model.SerializeToString())
    return np.asarray(session.run(None, {"x": x.numpy()})[0])
