"""A student whose graph has chains that are converted as one learns, shrinks and is compared as any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.distill import Features
from cake_onnx.graph.convert import claim_graph
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.taps import Taps
from cake_onnx.students.like_teacher import LikeTeacher, grow_down
from cake_onnx.teacher import Teacher, load_teacher


class Transformer(nn.Module):
    """One block of attention in two heads and one of two dense layers, both normalised first."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 16, 2, 2)
        self.first, self.second = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down, self.head = nn.Linear(16, 40), nn.Linear(40, 16), nn.Linear(16, 5)
        for norm in (self.first, self.second):
            nn.init.normal_(norm.weight, 1.0, 0.3)
            nn.init.normal_(norm.bias, 0.0, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        heads = self.qkv(self.first(x)).reshape(x.shape[0], x.shape[1], 3, 2, 8).permute(2, 0, 3, 1, 4)
        mixed = (heads[0] @ heads[1].transpose(-2, -1) / 8**0.5).softmax(-1) @ heads[2]
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape[0], x.shape[1], 16))
        x = x + self.down(functional.gelu(self.up(self.second(x))))
        logits: Tensor = self.head(x.mean(1))
        return logits


@pytest.fixture(scope="module", params=[13, 17])
def teacher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """The network by TorchScript; before opset 17 there is no LayerNormalization."""
    path = tmp_path_factory.mktemp("fused") / "transformer.onnx"
    torch.manual_seed(0)
    torch.onnx.export(
        Transformer().eval(), (torch.zeros(1, 1, 8, 8),), path, dynamo=False, opset_version=request.param,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
    )  # fmt: skip
    return load_teacher(path, (0.0, 1.0))


@pytest.fixture
def x() -> Tensor:
    return torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def in_onnxruntime(student: LikeTeacher, x: Tensor) -> Tensor:
    (found,) = open_session(student.model().SerializeToString()).run(None, {"x": x.numpy()})
    return torch.from_numpy(np.asarray(found))


def mismatch(teacher: Teacher, student: LikeTeacher, x: Tensor) -> float:
    taps = Taps(teacher.module.get_submodule("body"), student.teacher_places)
    with Features(taps, student).watched() as compared, torch.no_grad():
        teacher.module(x)
        student(x)
        assert taps.values is not None
        assert student.taps.values is not None
        assert taps.values.keys() == student.taps.values.keys() == student.kept.keys()
        return float(compared())


def test_its_chains_are_fused(teacher: Teacher) -> None:
    found = [node.op_type for node in claim_graph(teacher.prepared.body).graph.node]
    assert [found.count(op) for op in ("LayerNormalization", "Gelu", "Attention", "Gemm")] == [2, 1, 1, 5]
    assert not {"Shape", "Softmax", "Erf", "Sqrt", "MatMul", "Pow"} & set(found)


def test_what_it_learns_is_in_its_graph(teacher: Teacher, x: Tensor) -> None:
    student = LikeTeacher(teacher.prepared, teacher.input)
    written = sum(weight.numel() for weight in Transformer().parameters())
    assert sum(weight.numel() for weight in student.parameters()) == written
    before = {name: weight.detach().clone() for name, weight in student.weights().items()}
    optimiser = torch.optim.SGD(student.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        functional.cross_entropy(student(x), torch.arange(16) % 5).backward()
        optimiser.step()
    assert not [name for name, weight in student.weights().items() if torch.equal(weight, before[name])]
    torch.testing.assert_close(in_onnxruntime(student, x), student(x).detach(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(student(x), teacher.module(x), atol=1e-3)


def test_it_is_compared_with_its_teacher_layer_by_layer(teacher: Teacher, x: Tensor) -> None:
    student = LikeTeacher(teacher.prepared, teacher.input)
    assert len(student.kept) >= 4
    assert mismatch(teacher, student, x) < 1e-8


def test_it_shrinks_and_is_still_what_its_graph_says(teacher: Teacher, x: Tensor) -> None:
    target = int(0.8 * teacher.parameters)
    student = grow_down(teacher.prepared, teacher.input, target)
    student.shrink(target, 1.0, student.weigh(x, torch.Generator().manual_seed(1)))
    assert student.size <= target
    torch.testing.assert_close(in_onnxruntime(student, x), student(x).detach(), rtol=1e-4, atol=1e-5)
    assert mismatch(teacher, student, x) > 0
    found = [node.op_type for node in claim_graph(student.model()).graph.node]
    assert found.count("Gelu") == found.count("Attention") == 1
