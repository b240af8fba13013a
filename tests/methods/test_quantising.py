"""Students of every kind as files that compute with integers, before and after they have learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from cake_onnx.config import Config, parse_config
from cake_onnx.errors import UsageError
from cake_onnx.graph.inspect import is_quantised
from cake_onnx.graph.tensors import opset_of
from cake_onnx.methods.lesson import choose_student
from cake_onnx.methods.quantising import as_deployed, calibrated, export_for
from cake_onnx.methods.wishes import settle_size
from cake_onnx.pipeline import compress
from cake_onnx.priors import UniformPrior
from cake_onnx.teacher import Teacher, load_teacher

INT8 = Config(device="cpu", quantize="int8", rounds=1)


@pytest.fixture(scope="module")
def teacher(fixtures: Path) -> Teacher:
    return load_teacher(fixtures / "digits_cnn.onnx", (0.0, 1.0))


@pytest.mark.parametrize("student", ["like-teacher", "mlp", "cnn", "resnet", "vit"])
def test_every_kind_of_student_can_be_quantised(teacher: Teacher, student: str) -> None:
    config = INT8.model_copy(update={"student": student})
    data = as_deployed(teacher, choose_student(teacher, config), config)
    assert is_quantised(onnx.load_from_string(data))


def test_it_stays_as_it_is_where_nobody_asked(teacher: Teacher) -> None:
    config = Config(device="cpu", student="mlp")
    file = export_for(teacher, choose_student(teacher, config), config)
    assert calibrated(file, teacher, config) is file


def test_the_samples_come_from_the_prior_and_the_seed(teacher: Teacher) -> None:
    config = INT8.model_copy(update={"student": "mlp"})
    file = export_for(teacher, choose_student(teacher, config), config)
    made = [
        calibrated(file, teacher, config.model_copy(update={"seed": seed}), count=50) for seed in (0, 0, 1)
    ]
    assert made[0] == made[1] != made[2]
    assert calibrated(file, teacher, config, UniformPrior(teacher.input), count=50) != made[0]


def test_an_old_teacher_gives_a_student_new_enough_to_be_quantised(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    shown: dict[str, Any] = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}, "opset_version": 11}
    torch.onnx.export(net, (torch.zeros(1, 6),), tmp_path / "old.onnx", dynamo=False, **shown)
    teacher = load_teacher(tmp_path / "old.onnx", (0.0, 1.0))
    student = choose_student(teacher, INT8)
    assert opset_of(onnx.load_from_string(export_for(teacher, student, Config()))) == 11
    assert opset_of(onnx.load_from_string(as_deployed(teacher, student, INT8))) == 13


def test_a_wish_for_bytes_means_those_of_the_quantised_file(teacher: Teacher) -> None:
    wish = parse_config({**INT8.model_dump(), "max_size": "20KB"})
    settled = settle_size(teacher, wish)
    plain = settle_size(teacher, wish.model_copy(update={"quantize": "none"}))
    assert settled.compression < 0.7 * plain.compression
    wished = INT8.model_copy(update={"compression": settled.compression})
    result = compress(teacher.file.path, wished, latency_provider=None)
    assert 0.9 * 20_000 < len(result.model) <= 20_000


def test_what_cannot_be_quantised_is_refused_before_the_work(
    fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "somebodys.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "class Product(nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.weight = nn.Parameter(torch.randn(classes, 2))\n\n"
        "    def forward(self, x):\n"
        "        return (x.unsqueeze(1) * self.weight).sum(2)\n\n"
        "def small(input, classes, parameters):\n"
        "    return Product(classes)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = INT8.model_copy(update={"student": "somebodys:small"})
    done: list[str] = []
    with pytest.raises(UsageError, match=r"channels and more; found none\. Leave --quantize out"):
        compress(fixtures / "moons_mlp.onnx", config, lambda step: done.append(step.stage))
    assert set(done) == {"read"}
