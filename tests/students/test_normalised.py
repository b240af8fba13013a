"""A deep teacher of convolutions, grown down: normalised while it learns, and not in its file."""

from __future__ import annotations

import onnx
import pytest
import torch
from torch import Tensor, nn

from cake_onnx.config import parse_config
from cake_onnx.graph.added_norms import ADDED
from cake_onnx.graph.export import check_export, export_student
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.rounds import Rounds
from cake_onnx.methods.settings import Narrowing, RoundSettings
from cake_onnx.students.like_teacher import LikeTeacher, grow_down
from cake_onnx.teacher import Teacher, load_teacher


class Residual(nn.Module):
    """Three blocks of two convolutions, each with a batch normalisation for its exporter to fold."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = self.layer(1, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(self.layer(8, 8), nn.ReLU(), self.layer(8, 8)) for _ in range(3)
        )
        self.head = nn.Linear(8, 5)

    @staticmethod
    def layer(inward: int, outward: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inward, outward, 3, padding=1, bias=False), nn.BatchNorm2d(outward))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        for block in self.blocks:
            x = (x + block(x)).relu()
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    path = tmp_path_factory.mktemp("deep") / "residual.onnx"
    torch.manual_seed(0)
    network = Residual().train()
    network(torch.rand(64, 1, 8, 8))
    torch.onnx.export(
        network.eval(), (torch.zeros(1, 1, 8, 8),), path, dynamo=False, opset_version=17,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
    )  # fmt: skip
    teacher = load_teacher(path, (0.0, 1.0))
    assert "BatchNormalization" not in {node.op_type for node in teacher.file.model.graph.node}
    return teacher


@pytest.fixture
def x() -> Tensor:
    return torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def norms(student: LikeTeacher) -> int:
    return sum(node.op_type == "BatchNormalization" for node in student.skeleton.graph.node)


def test_it_is_as_large_as_the_teacher_and_says_the_same(teacher: Teacher, x: Tensor) -> None:
    student = LikeTeacher(teacher.prepared, teacher.input)
    assert norms(student) == 7
    assert student.size == teacher.parameters
    student.calibrate(x)
    for learns in (False, True):
        student.train(learns)
        torch.testing.assert_close(student(x), teacher.module(x), rtol=1e-3, atol=1e-3)


def test_its_statistics_are_cut_and_kept_with_it(teacher: Teacher, x: Tensor) -> None:
    target = teacher.parameters // 3
    first, second = (grow_down(teacher.prepared, teacher.input, target) for _ in range(2))
    first.calibrate(x)
    first.train()(2 * x)
    first.eval()
    first.shrink(target, 0.5, first.weigh(x, draw()))
    second.install_bytes(first.graph_bytes())
    torch.testing.assert_close(second(x), first(x), rtol=0, atol=0)
    assert norms(second) == 7
    assert not torch.equal(first.train()(x), first.eval()(x))


def test_its_file_has_none(teacher: Teacher, x: Tensor) -> None:
    target = teacher.parameters // 3
    student = grow_down(teacher.prepared, teacher.input, target)
    student.calibrate(x)
    student.shrink(target, 1.0, student.weigh(x, draw()))
    student.train()(2 * x)
    student.eval()
    data = export_student(student, teacher.file.model, teacher.prepared, teacher.input, teacher.output, {})
    check_export(student, data, teacher.prepared, teacher.input, teacher.output)
    model = onnx.load_model_from_string(data)
    ops = [node.op_type for node in model.graph.node]
    assert ops == [node.op_type for node in teacher.file.model.graph.node]
    assert not [t.name for t in model.graph.initializer if t.name.startswith(ADDED)]
    assert sum(int(torch.tensor(list(t.dims)).prod()) for t in model.graph.initializer) <= target


@pytest.mark.parametrize("normalised", [True, False])
def test_rounds_learn_with_them_unless_told_not_to(teacher: Teacher, normalised: bool) -> None:
    config = parse_config({"compression": 3, "device": "cpu"})
    lesson, _ = prepare_lesson(teacher, choose_student(teacher, config), config)
    rounds = Rounds(lesson, 1, RoundSettings(pool=500, narrowing=Narrowing(normalised=normalised)))
    student = lesson.student
    assert isinstance(student, LikeTeacher)
    assert bool(norms(student)) == normalised
    rounds.play(0)
    assert bool(norms(student)) == normalised
    assert student.size <= teacher.parameters // 3
