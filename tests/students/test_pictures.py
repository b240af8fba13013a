"""Families that need a picture, for teachers that take one flattened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch

from cake_onnx.config import parse_config
from cake_onnx.errors import UsageError
from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.methods.candidates import candidates_for
from cake_onnx.methods.lesson import choose_student
from cake_onnx.pipeline import export
from cake_onnx.students.pictures import SeesPictures
from cake_onnx.students.sizing import build_student, family_named
from cake_onnx.teacher import Teacher, load_teacher

BOUNDS = Bounds((-1.0,), (3.0,), "a test", False)
IMAGE = InputSpec("x", (1, 12, 12), "float32", "NCHW", BOUNDS)
FLAT = InputSpec("x", (144,), "float32", "flat", BOUNDS)


@pytest.fixture(scope="module")
def teacher(fixtures: Path) -> Teacher:
    """It takes 64 pixels as a row."""
    return load_teacher(fixtures / "digits_mlp_sklearn.onnx", (0.0, 1.0))


@pytest.mark.parametrize("name", ["cnn", "resnet", "vit"])
def test_it_sees_what_a_network_for_pictures_sees(name: str) -> None:
    flat = build_student(name, FLAT, 5, 20_000, frozenset(), 3, picture=(1, 12, 12))
    whole = build_student(name, IMAGE, 5, 20_000, frozenset(), 3)
    assert flat.parameters == whole.parameters
    x = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(flat.module(x.reshape(4, 144)), whole.module(x))


def test_a_family_that_takes_rows_is_left_as_it_is() -> None:
    module = build_student("mlp", FLAT, 5, 20_000, frozenset(), 0, picture=(1, 12, 12)).module
    assert not any(isinstance(part, torch.nn.Unflatten) for part in module.modules())


def test_equal_bounds_of_all_values_are_one_range_and_different_ones_no_pixels() -> None:
    family = SeesPictures(family_named("cnn"), (1, 12, 12))
    alike = replace(FLAT, bounds=replace(BOUNDS, low=(-1.0,) * 144, high=(3.0,) * 144))
    assert family.unfit(alike) is None
    assert family.build(alike, 5, 0.5)(torch.rand(2, 144)).shape == (2, 5)
    mixed = replace(FLAT, bounds=replace(BOUNDS, low=(-1.0,) * 144, high=(*(3.0,) * 143, 4.0)))
    assert "2 different ranges" in str(family.unfit(mixed))


@pytest.mark.parametrize("name", ["cnn", "resnet", "vit"])
def test_the_student_is_a_drop_in_for_a_teacher_of_rows(teacher: Teacher, name: str) -> None:
    student = choose_student(teacher, parse_config({"student": name, "prior": "image", "compression": 2}))
    model, parity = export(teacher, student)
    assert parity.max_abs_diff <= parity.tolerance
    session = onnxruntime.InferenceSession(model)
    assert [i.shape[1:] for i in session.get_inputs()] == [i.shape[1:] for i in teacher.session.get_inputs()]
    for batch in (1, 7):
        x = torch.rand(batch, *teacher.input.shape).numpy().astype(teacher.input.dtype)
        labels = session.run(None, {teacher.input.name: x})[0]
        assert len(labels) == batch


def test_rows_that_are_no_pictures_are_refused(teacher: Teacher) -> None:
    config = parse_config({"student": "cnn", "prior": "tabular"})
    with pytest.raises(UsageError, match="no height and width") as caught:
        choose_student(teacher, config)
    assert "--prior image" in caught.value.remedy
    with pytest.raises(UsageError, match="no height and width"):
        candidates_for(teacher, config, "parameters")
