"""Students of other people: files, functions, families of installed packages."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from cake_onnx.config import Config, parse_config
from cake_onnx.distill import Distillation
from cake_onnx.errors import CakeError, UnsupportedTeacherError, UsageError
from cake_onnx.graph.specs import InputSpec
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.rounds import train_in_rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.pipeline import export
from cake_onnx.students import FAMILIES
from cake_onnx.students.conformance import check_family
from cake_onnx.teacher import Teacher, load_teacher

FACTORIES = """
from torch import nn

def small(input, classes, parameters):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, classes))

def number(input, classes, parameters):
    return 3

def too_many(input, classes, parameters):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes + 1))

def failing(input, classes, parameters):
    return {}["width"]

def wrong_input(input, classes, parameters):
    return nn.Linear(3, classes)

class Narrow:
    name = "narrow"

    def unfit(self, input):
        return None

    def build(self, input, classes, width):
        hidden = 1 + int(width)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, classes))
"""


@pytest.fixture(scope="module")
def teacher(fixtures: Path) -> Teacher:
    return load_teacher(fixtures / "digits_cnn.onnx", (0.0, 1.0))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of somebody, as the command would find it."""
    (tmp_path / "somebodys.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("somebodys", None)
    return tmp_path


def config(**values: object) -> Config:
    return parse_config({"device": "cpu", **values})


@pytest.mark.parametrize("name", ["digits_softmax_dynamo", "digits_cnn", "digits_mlp_sklearn"])
def test_a_file_gives_the_architecture(teacher: Teacher, fixtures: Path, name: str) -> None:
    """Any graph under any ending: the exported student answers as the teacher's application expects."""
    path = fixtures / f"{name}.onnx"
    pupil_of = load_teacher(path, (0.0, 1.0)) if name == "digits_mlp_sklearn" else teacher
    student = choose_student(pupil_of, config(student=str(path)))
    own = load_teacher(path, (0.0, 1.0))
    x = torch.rand(16, *own.input.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(student.module(x), own.module(x), rtol=1e-4, atol=1e-4)
    model, parity = export(pupil_of, student)
    assert parity.max_abs_diff <= parity.tolerance
    session = onnxruntime.InferenceSession(model)
    assert [i.name for i in session.get_inputs()] == [i.name for i in pupil_of.session.get_inputs()]
    assert [o.name for o in session.get_outputs()] == [o.name for o in pupil_of.session.get_outputs()]


def test_new_weights_know_nothing_and_depend_on_the_seed(teacher: Teacher, fixtures: Path) -> None:
    path = fixtures / "digits_softmax_dynamo.onnx"
    x = torch.rand(200, *teacher.input.shape, generator=torch.Generator().manual_seed(0))
    answers = [
        choose_student(teacher, config(student=str(path), student_weights=weights, seed=seed)).module(x)
        for weights, seed in (("keep", 0), ("reset", 0), ("reset", 0), ("reset", 1))
    ]
    kept, first, again, other = answers
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert float((first.argmax(1) == kept.argmax(1)).float().mean()) < 0.6
    assert 0.01 < float(first.detach().std()) < 10


def test_a_file_for_other_inputs_is_refused(teacher: Teacher, fixtures: Path) -> None:
    with pytest.raises(UsageError, match=r"takes \[1, 8, 8\] and tells 10 classes.*moons_mlp.onnx, which"):
        choose_student(teacher, config(student=str(fixtures / "moons_mlp.onnx")))
    with pytest.raises(UsageError, match="no file"):
        choose_student(teacher, config(student="nowhere.onnx"))


def test_a_broken_file_names_the_option(teacher: Teacher, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07zzz")
    with pytest.raises(UnsupportedTeacherError, match=r"for --student broken\.onnx"):
        choose_student(teacher, config(student=str(tmp_path / "broken.onnx")))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"student": "a.onnx", "max_size": 1000}, "a.onnx has its size"),
        ({"student": "a.onnx", "channel_block": 8}, "a.onnx is whole"),
        ({"student": "mlp", "student_weights": "reset"}, "needs --student FILE.onnx"),
        ({"student": "mlpp"}, "FILE.onnx, timm:NAME or package.module:factory"),
    ],
)
def test_what_does_not_go_together(values: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        config(**values)


@pytest.mark.usefixtures("elsewhere")
def test_a_function_builds_the_student(teacher: Teacher) -> None:
    student = choose_student(teacher, config(student="somebodys:small"))
    assert student.parameters == 64 * 8 + 8 + 8 * 10 + 10
    again = choose_student(teacher, config(student="somebodys:small"))
    for one, other in zip(student.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(one, other)
    export(teacher, student)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("somebodys:number", "a torch.nn.Module from somebodys:number; found a int"),
        ("somebodys:too_many", r"logits of shape \[2, 10\].*found \[2, 11\]"),
        ("somebodys:wrong_input", r"takes \(B, 1, 8, 8\); found RuntimeError"),
        ("somebodys:failing", "a network from somebodys:failing; found KeyError: 'width'. Mend it"),
        ("somebodys:none", "a function none in module somebodys"),
        ("nobodys:small", "No module named 'nobodys'"),
    ],
)
def test_a_function_that_does_not_is_told(teacher: Teacher, name: str, words: str) -> None:
    with pytest.raises(CakeError, match=words):
        choose_student(teacher, config(student=name))


def test_an_installed_package_offers_a_family(teacher: Teacher, elsewhere: Path) -> None:
    """With the metadata that an installer writes, found by Python's own lookup."""
    info = elsewhere / "somebodys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n")
    entries = "narrow = somebodys:Narrow\nlost = somebodys:Lost\n"
    (info / "entry_points.txt").write_text(f"[cake_onnx.students]\n{entries}")
    sys.path.insert(0, str(elsewhere))
    student = choose_student(teacher, config(student="narrow"))
    assert student.family == "narrow"
    assert 0.9 * teacher.parameters / 4 < student.parameters <= teacher.parameters / 4
    with pytest.raises(UsageError, match="a student family lost from somebodys:Lost; found AttributeError"):
        choose_student(teacher, config(student="lost"))


TIMM_BESIDE_A_BROKEN_TORCHVISION = """
import sys
from pathlib import Path
from cake_onnx.config import parse_config
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.rounds import train_in_rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.teacher import load_teacher
asked = parse_config({"student": "timm:test_resnet"})
student = choose_student(load_teacher(Path(sys.argv[1]), (0.0, 1.0)), asked)
print(student.family, student.parameters, sys.modules.get("torchvision"))
"""


def test_timm_needs_no_torchvision_that_works(fixtures: Path, tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('no such operator')")
    path = os.pathsep.join([str(tmp_path), *(entry for entry in sys.path if entry), str(Path.cwd())])
    done = subprocess.run(
        [sys.executable, "-c", TIMM_BESIDE_A_BROKEN_TORCHVISION, str(fixtures / "digits_cnn.onnx")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"timm:test_resnet \d+ None\n", done.stdout)


def test_a_network_of_timm_learns_and_is_written_as_it_was_taught(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    weight = helper.make_tensor("w", 1, (4, 32 * 32), torch.randn(4 * 32 * 32, generator=draw).numpy())
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w"], ["y"], transB=1)]
    x_info = helper.make_tensor_value_info("x", 1, ["n", 1, 32, 32])
    graph = helper.make_graph(
        nodes, "g", [x_info], [helper.make_tensor_value_info("y", 1, ["n", 4])], [weight]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    teacher = load_teacher(tmp_path / "m.onnx", (0.0, 1.0))
    asked = config(student="timm:test_resnet", device="cpu")
    student = choose_student(teacher, asked)
    again = choose_student(teacher, asked)
    for one, other in zip(student.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(one, other)
    lesson, _ = prepare_lesson(teacher, student, asked)
    small = RoundSettings(samples=20, pool=500, bank=500, distillation=Distillation(steps=5, batch=64))
    curve = train_in_rounds(lesson, 6, settings=small).curve
    assert curve[-1].loss < curve[0].loss
    model, _ = export(teacher, student)
    x = torch.rand(3, *teacher.input.shape)
    session = onnxruntime.InferenceSession(model)
    (given,) = session.run(None, {teacher.input.name: x.numpy()})[:1]
    torch.testing.assert_close(torch.from_numpy(given), student.module(x).detach(), rtol=1e-3, atol=1e-3)


def test_a_deep_network_on_small_images_learns_in_float32(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr("cake_onnx.teacher._LIGHT_CONVOLUTIONS", 0)
    for name, kind in (("timm:test_resnet", None), ("like-teacher", torch.bfloat16)):
        asked = config(student=name, device="cpu")
        lesson, _ = prepare_lesson(teacher, choose_student(teacher, asked), asked)
        assert lesson.device.autocast is kind


def test_what_timm_cannot_do_is_told(teacher: Teacher, fixtures: Path) -> None:
    with pytest.raises(UsageError, match=r"a network that timm knows; found test_resnt. It has test_resnet"):
        choose_student(teacher, config(student="timm:test_resnt"))
    with pytest.raises(UsageError, match=r"a network from timm:test_vit that takes .*height \(8\)"):
        choose_student(teacher, config(student="timm:test_vit"))
    table = load_teacher(fixtures / "moons_mlp.onnx")
    with pytest.raises(
        UsageError, match=r"an image as input, for --student timm:test_resnet; found one of shape"
    ):
        choose_student(table, config(student="timm:test_resnet"))


@pytest.mark.parametrize("name", FAMILIES.names())
def test_families_keep_the_contract(name: str) -> None:
    check_family(FAMILIES.get(name)())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unfit": lambda self, input: ""}, "a phrase"),
        ({"build": lambda self, input, classes, width: nn.Linear(3, classes)}, "RuntimeError"),
        ({"build": lambda self, input, classes, width: _head(input, classes + 1)}, r"shape \(2, 5\)"),
        (
            {"build": lambda self, input, classes, width: nn.Sequential(_head(input, classes), Halved())},
            "float32",
        ),
        ({"build": lambda self, input, classes, width: _head(input, int(8 / (1 + width)))}, "shape"),
        ({"build": lambda self, input, classes, width: _shrinking(input, classes, width)}, "never fall"),
        ({"build": lambda self, input, classes, width: _lazy(input, classes)}, "no gradient"),
    ],
)
def test_families_that_break_it_are_told(change: dict[str, Any], words: str) -> None:
    family = type("Broken", (), {"name": "broken", "unfit": lambda self, input: None, **change})
    if "build" not in change:
        family.build = lambda self, input, classes, width: _head(input, classes)  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match=words):
        check_family(family())


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.half()


def _halved(input: InputSpec, classes: int) -> nn.Module:
    return nn.Sequential(_head(input, classes), Halved())


def _head(input: InputSpec, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input.shape), classes))


def _shrinking(input: InputSpec, classes: int, width: float) -> nn.Module:
    hidden = int(20 / (1 + width))
    flat = math.prod(input.shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def _lazy(input: InputSpec, classes: int) -> nn.Module:
    head = _head(input, classes)
    head.register_parameter("idle", nn.Parameter(torch.zeros(3)))
    return head


def test_the_command_finds_a_module_where_it_runs(elsewhere: Path, fixtures: Path) -> None:
    words = ["compress", str(fixtures / "digits_cnn.onnx"), "--student", "somebodys:small", "--dry-run"]
    run = [sys.executable, "-m", "cake_onnx", *words, "--json"]
    done = subprocess.run(run, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "somebodys:small of 610 parameters" in done.stdout
