"""What every registered family of students promises."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cake_onnx.graph.specs import Bounds, InputSpec, Layout
from cake_onnx.students import FAMILIES
from cake_onnx.students.sizing import build_student, largest_width, parameters_at


def spec(shape: tuple[int, ...], layout: Layout) -> InputSpec:
    return InputSpec("x", shape, "float32", layout, Bounds((-0.5,), (2.5,), "a test", False))


IMAGES = [
    (spec((1, 8, 8), "NCHW"), 10),
    (spec((3, 32, 32), "NCHW"), 2),
    (spec((1, 28, 28), "NCHW"), 1000),
    (spec((28, 28, 1), "NHWC"), 10),
    (spec((2, 17, 23), "NCHW"), 2),
    (spec((1, 4, 4), "NCHW"), 10),
    (spec((1, 1, 40), "NCHW"), 2),
    (spec((3, 150, 70), "NCHW"), 10),
]
FLAT = [(spec((2,), "flat"), 2), (spec((64,), "flat"), 1000), (spec((784,), "flat"), 10)]
CASES = [
    (name, input, classes)
    for name in FAMILIES.names()
    for input, classes in IMAGES + FLAT
    if FAMILIES.get(name)().unfit(input) is None
]
# Enough to meet every branch that decides a size: one stage and four, strips, many classes.
_SIZED = {(1, 8, 8), (1, 28, 28), (1, 1, 40), (3, 150, 70), (2,), (784,)}
SIZED = [case for case in CASES if case[1].shape in _SIZED]
# The exporter's time goes by the number of operators, and a transformer has many.
_SPARED = {(1, 28, 28), (1, 1, 40), (3, 150, 70)}
EXPORTED = [case for case in CASES if case[0] != "vit" or case[1].shape not in _SPARED]


def name_of(value: object) -> str:
    """A readable test id."""
    return "x".join(map(str, value.shape)) if isinstance(value, InputSpec) else str(value)


def width_for_tests(classes: int) -> float:
    return 0.7 if classes < 1000 else 0.2


# torch's exporter meets its own deprecations.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(("name", "input", "classes"), EXPORTED, ids=name_of)
def test_exports_with_a_free_batch_and_gives_the_same_values(
    name: str, input: InputSpec, classes: int
) -> None:
    torch.manual_seed(0)
    module = FAMILIES.get(name)().build(input, classes, width_for_tests(classes)).eval()
    program = torch.onnx.export(
        module,
        (torch.zeros(2, *input.shape),),
        input_names=["x"],
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
        optimize=input.shape == (1, 8, 8),  # rewriting takes as long as all the rest
    )
    assert program is not None
    session = ort.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for batch in (1, 5):
        x = torch.rand(batch, *input.shape) * 3 - 0.5
        with torch.no_grad():
            wanted = module(x)
        (found,) = session.run(None, {"x": x.numpy()})
        assert wanted.shape == (batch, classes)
        assert wanted.dtype == torch.float32
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "input", "classes"), CASES, ids=name_of)
def test_logits_start_at_unit_size(name: str, input: InputSpec, classes: int) -> None:
    torch.manual_seed(1)
    module = FAMILIES.get(name)().build(input, classes, 1.0)
    with torch.no_grad():
        spread = module(torch.rand(64, *input.shape) * 3 - 0.5).pow(2).mean().sqrt()
    assert 0.05 < spread < 5


@pytest.mark.parametrize(("name", "input", "classes"), SIZED, ids=name_of)
@settings(max_examples=3, deadline=None)
@given(start=st.floats(0, 0.05))
def test_parameters_never_fall_as_the_width_grows(
    name: str, input: InputSpec, classes: int, start: float
) -> None:
    # A ladder, not pairs: a fall at one width is narrow and single pairs step over it.
    family = FAMILIES.get(name)()
    widths = [start + rung / 20 for rung in range(45)] + [3.99, 4.0, 4.01, 5.0, 6.0]
    counts = [parameters_at(family, input, classes, width) for width in widths]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


@pytest.mark.parametrize(("name", "input", "classes"), SIZED, ids=name_of)
@settings(max_examples=8, deadline=None)
@given(factor=st.floats(0, 7))
def test_size_uses_what_it_was_given_and_not_more(
    name: str, input: InputSpec, classes: int, factor: float
) -> None:
    family = FAMILIES.get(name)()
    target = int(parameters_at(family, input, classes, 0.0) * 2**factor)
    width = largest_width(family, input, classes, target)
    found = parameters_at(family, input, classes, width)
    assert found <= target
    if factor > 2:
        assert found >= 0.75 * target


@pytest.mark.parametrize("name", FAMILIES.names())
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28)], ids=str)
def test_learns_a_trivial_task(name: str, shape: tuple[int, int, int]) -> None:
    student = build_student(name, spec(shape, "NCHW"), 4, 12_000, frozenset(), seed=0)
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(64, *shape, generator=generator) * 3 - 0.5
    y = torch.randint(4, (64,), generator=generator)
    optimiser = torch.optim.Adam(student.module.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(student.module(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert losses[-1] < math.log(4)


@pytest.mark.parametrize("name", FAMILIES.names())
def test_families_know_their_names(name: str) -> None:
    assert FAMILIES.get(name)().name == name


@pytest.mark.parametrize("name", [name for name in FAMILIES.names() if name != "mlp"])
def test_flat_inputs_are_unfit_for_those_that_need_an_image(name: str) -> None:
    reason = FAMILIES.get(name)().unfit(spec((64,), "flat"))
    assert reason is not None
    assert "(64,)" in reason
