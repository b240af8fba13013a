from __future__ import annotations

import pytest
import torch

from cake_onnx.errors import UsageError
from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.students import FAMILIES, build_student
from cake_onnx.students.sizing import choose_family

BOUNDS = Bounds((0.0,), (1.0,), "a test", False)
IMAGE = InputSpec("x", (1, 28, 28), "float32", "NCHW", BOUNDS)
FLAT = InputSpec("x", (64,), "float32", "flat", BOUNDS)


@pytest.mark.parametrize(
    ("input", "traits", "family"),
    [
        (IMAGE, {"convolution", "normalisation"}, "cnn"),
        (IMAGE, {"convolution", "residual"}, "resnet"),
        (IMAGE, {"convolution", "residual", "attention"}, "vit"),
        (IMAGE, {"residual"}, "mlp"),
        (IMAGE, {"recurrent"}, "mlp"),
        (IMAGE, set(), "mlp"),
        (FLAT, {"attention", "convolution", "residual"}, "mlp"),
    ],
)
def test_auto_takes_after_the_teacher(input: InputSpec, traits: set[str], family: str) -> None:
    student = build_student("auto", input, 10, 20_000, frozenset(traits), seed=0)
    assert student.family == family
    assert student.reason == choose_family(input, frozenset(traits))[1]


def test_a_choice_is_obeyed() -> None:
    student = build_student("vit", IMAGE, 10, 20_000, frozenset({"convolution"}), seed=0)
    assert (student.family, student.reason) == ("vit", "asked for by name")


def test_parameters_are_those_of_the_module() -> None:
    student = build_student("cnn", IMAGE, 10, 16_000, frozenset(), seed=0)
    assert student.parameters == sum(p.numel() for p in student.module.parameters()) <= 16_000
    assert all(p.device.type == "cpu" for p in student.module.parameters())


def test_a_quarter_of_lenet_keeps_its_first_convolution_and_its_last_hidden_layer() -> None:
    module = build_student("cnn", IMAGE, 10, 61_706 // 4, frozenset(), seed=0).module
    shapes = [tuple(p.shape) for p in module.parameters() if p.dim() > 1]
    assert shapes[0] == (6, 1, 5, 5)
    assert shapes[-1][1] >= 40


def test_an_unknown_family_lists_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        build_student("resnett", IMAGE, 10, 20_000, frozenset(), seed=0)
    assert all(name in caught.value.remedy for name in FAMILIES.names())
    assert caught.value.expected.startswith("a student family out of resnet")


def test_a_wrong_pick_for_the_input_names_the_right_one() -> None:
    with pytest.raises(UsageError) as caught:
        build_student("cnn", FLAT, 10, 20_000, frozenset(), seed=0)
    assert "(64,)" in caught.value.found
    assert "--student mlp" in caught.value.remedy


def test_too_small_a_target_names_the_smallest_size_and_what_would_fit() -> None:
    with pytest.raises(UsageError) as caught:
        build_student("vit", IMAGE, 10, 2_000, frozenset(), seed=0)
    smallest = int(caught.value.remedy.split()[2].replace(",", ""))
    assert build_student("vit", IMAGE, 10, smallest, frozenset(), seed=0).parameters == smallest
    with pytest.raises(UsageError):
        build_student("vit", IMAGE, 10, smallest - 1, frozenset(), seed=0)
    assert caught.value.found == "a size of 2,000 parameters"
    assert "--student cnn or mlp or resnet" in caught.value.remedy
    with pytest.raises(UsageError, match="--compression 7x`"):
        build_student("vit", IMAGE, 10, 0, frozenset(), seed=0, teacher_parameters=7 * smallest)


@pytest.mark.parametrize("name", FAMILIES.names())
def test_the_weights_depend_on_the_seed_alone(name: str) -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        return list(build_student(name, IMAGE, 10, 10_000, frozenset(), seed).module.parameters())

    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = weights(7)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(first, weights(7), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, weights(8), strict=True))
