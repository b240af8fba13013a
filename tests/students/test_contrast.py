from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from cake_onnx.config import parse_config
from cake_onnx.distill import Apprentice, Distillation, apprentice_for_rounds
from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.graph.trainable import count_weights
from cake_onnx.methods.lesson import choose_student
from cake_onnx.pipeline import export
from cake_onnx.students import Student
from cake_onnx.students.contrast import Contrast
from cake_onnx.students.mlp import Mlp
from cake_onnx.students.sizing import build_student
from cake_onnx.teacher import load_teacher

BOUNDS = Bounds((0.0,), (1.0,), "a test", assumed=False)
IMAGE = InputSpec("x", (2, 9, 12), "float32", "NCHW", BOUNDS)
LAST = InputSpec("x", (9, 12, 2), "float32", "NHWC", BOUNDS)
ROW = InputSpec("x", (216,), "float32", "flat", BOUNDS)


def first(module: nn.Module) -> nn.Linear:
    return next(layer for layer in module.modules() if isinstance(layer, nn.Linear))


def of_seed(family: Mlp, input: InputSpec) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        return family.build(input, 5, 0.5)


def test_of_evenly_bright_areas_a_tenth_is_left() -> None:
    filtered = Contrast((1, 28, 28), channels_last=False)(torch.eye(784))
    even = filtered @ torch.ones(784)
    assert even.view(28, 28)[14, 14] == pytest.approx(0.1, abs=0.01)
    assert 0.1 < even.view(28, 28)[0, 0] < 1.1, "at an edge less lies around"
    pixel = filtered[:, 14 * 28 + 14].view(28, 28)
    assert pixel[14, 14] > 1
    assert pixel[14, 13] < 0


def test_rows_columns_and_channels_are_told_apart() -> None:
    """Around a pixel of the first channel nothing of the second counts, in either layout."""
    first_pixel = torch.zeros(2, 9, 12)
    first_pixel[0, 4, 6] = 1
    seen = Contrast((2, 9, 12), channels_last=False)(first_pixel.reshape(1, -1)).view(2, 9, 12)
    assert seen[1].abs().max() == 0
    assert seen[0, 4, 8] < seen[0, 6, 6], "the picture is wider than high, and with it what lies around"
    moved = first_pixel.movedim(0, -1).reshape(1, -1)
    last = Contrast((2, 9, 12), channels_last=True)(moved).view(9, 12, 2)
    torch.testing.assert_close(last.movedim(-1, 0), seen)


def test_a_row_that_is_a_picture_is_seen_as_one() -> None:
    image, row = of_seed(Mlp(), IMAGE), of_seed(Mlp((2, 9, 12)), ROW)
    x = torch.rand(3, 2, 9, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(image(x), row(x.flatten(1)))
    assert not torch.allclose(image(x), of_seed(Mlp(), ROW)(x.flatten(1)))
    chosen = build_student("mlp", ROW, 5, 20_000, frozenset(), 0, picture=(2, 9, 12))
    assert nn.utils.parametrize.is_parametrized(first(chosen.module), "weight")


@pytest.mark.parametrize(("shape", "layout"), [((20,), "flat"), ((3, 4, 4), "NCHW")])
def test_tables_and_tiny_pictures_are_left_as_they_are(shape: tuple[int, ...], layout: str) -> None:
    input = InputSpec("x", shape, "float32", layout, BOUNDS)  # type: ignore[arg-type]
    assert not nn.utils.parametrize.is_parametrized(first(Mlp().build(input, 3, 1.0)))


def test_the_file_holds_the_weights_and_nothing_of_the_filter(fixtures: Path) -> None:
    teacher = load_teacher(fixtures / "digits_cnn.onnx")
    student = choose_student(teacher, parse_config({"student": "mlp", "compression": 2}))
    model = onnx.load_model_from_string(export(teacher, student)[0])
    shapes = {numpy_helper.to_array(tensor).shape for tensor in model.graph.initializer}
    wide = first(student.module).weight
    assert shapes & {tuple(wide.shape), tuple(wide.T.shape)}
    assert (8, 8) not in shapes
    stored = sum(numpy_helper.to_array(t).size for t in model.graph.initializer if len(t.dims) == 2)
    learnt = sum(weight.numel() for weight in student.module.parameters() if weight.dim() == 2)
    assert stored == learnt
    assert nn.utils.parametrize.is_parametrized(first(student.module)), "a run may go on after exporting"


def test_it_learns_through_the_filter_and_goes_on_from_a_checkpoint() -> None:
    def learn(apprentice: Apprentice, steps: int) -> None:
        for seed in range(steps):
            draw = torch.Generator().manual_seed(seed)
            x = torch.rand(8, *IMAGE.shape, generator=draw)
            apprentice.learn(x, torch.randn(8, 5, generator=draw), 0.01)

    def new() -> Apprentice:
        module = of_seed(Mlp(), IMAGE)
        return apprentice_for_rounds(module, module, Distillation())

    whole, broken, resumed = new(), new(), new()
    before = first(whole.module).weight.detach().clone()
    learn(whole, 2)
    learn(broken, 2)
    moved = (first(whole.module).weight.detach() - before).view(-1, *IMAGE.shape)
    assert moved.mean((2, 3)).abs().max() < 0.1 * moved.abs().mean(), "brightness is hardly learnt"
    resumed.restore({name: value.clone() for name, value in broken.state().items()})
    learn(whole, 2)
    learn(resumed, 2)
    for ours, theirs in zip(whole.module.parameters(), resumed.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_weights_that_a_student_of_ones_own_computes_are_stored(fixtures: Path) -> None:
    teacher = load_teacher(fixtures / "moons_mlp.onnx")
    own = nn.Sequential(nn.Linear(2, 7), nn.Tanh(), weight_norm(nn.Linear(7, 2)))
    model, _ = export(teacher, Student(own, "own", count_weights(own), ""))
    graph = onnx.load_model_from_string(model).graph
    assert [node.op_type for node in graph.node if node.op_type in ("Gemm", "Tanh", "Div", "Mul")] == [
        "Gemm",
        "Tanh",
        "Gemm",
    ]
