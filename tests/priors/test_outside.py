"""Priors that a user's own code builds."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cake_onnx.errors import UsageError
from cake_onnx.graph.specs import Bounds, InputSpec, Layout
from cake_onnx.priors import ImagePrior, OutsidePrior, ValueRange, build_prior

OWN = """
import numpy as np
import torch

from cake_onnx.errors import UsageError
from cake_onnx.priors import UniformPrior

class Stored:
    "Samples of a file, as arrays of numpy in double precision."
    def __init__(self, input):
        self.x = np.linspace(0, 1, 50)[:, None].repeat(np.prod(input.shape), 1).reshape(50, *input.shape)
    def draw(self, n, generator):
        return self.x[torch.randint(50, (n,), generator=generator)]

class Whole(Stored):
    "With everything that a prior may have."
    def project(self, x):
        return x.round()
    def augment(self, x, generator):
        return x + 5
    def penalty(self, x):
        return 3 * x.flatten(1).sum(1)

class Bound(UniformPrior):
    "Made of one that is here."
    def __init__(self, input):
        super().__init__(input)

class Forgetful(Stored):
    def draw(self, n, generator):
        return torch.rand(n, 2)

class Late(Stored):
    "Goes wrong after it was tried."
    def draw(self, n, generator):
        return super().draw(n, generator) * (1 if n < 10 else 255)

def number(input):
    return 3

def failing(input):
    raise FileNotFoundError("no file unlabelled.npz")

def refusing(input):
    raise UsageError("a folder of pictures", "none", "give one")

def drawing(result):
    class Drawn:
        def draw(self, n, generator):
            return result(n)
    return lambda input: Drawn()

flat = drawing(lambda n: torch.zeros(n, 4))
pixels = drawing(lambda n: torch.full((n, 2), 200.0))
endless = drawing(lambda n: torch.full((n, 2), float("nan")))
words = drawing(lambda n: "two of them")
nothing = drawing(lambda n: {}[n])
nearly = drawing(lambda n: torch.full((n, 2), 1.0005))

class Thin(Stored):
    def augment(self, x, generator):
        return x[:, :1]

class Mean(Stored):
    def penalty(self, x):
        return x.mean()
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_theirs.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("of_theirs", None)


def spec(shape: tuple[int, ...] = (2,), layout: Layout = "flat") -> InputSpec:
    return InputSpec("x", shape, "float32", layout, Bounds((0.0,), (1.0,), "test", False))


def new(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(name: str, input: InputSpec | None = None) -> OutsidePrior:
    prior, reason = build_prior(f"of_theirs:{name}", input or spec(), torch.nn.Identity())
    assert isinstance(prior, OutsidePrior)
    assert (prior.name, reason) == (f"of_theirs:{name}", "it is what a function of yours builds")
    return prior


def test_drawing_is_enough() -> None:
    prior = built("Stored")
    x = prior.draw(30, new())
    assert (x.shape, x.dtype) == ((30, 2), torch.float32)
    assert torch.equal(x, prior.draw(30, new()))
    assert not torch.equal(x, prior.draw(30, new(1)))
    assert {round(value, 4) for value in x.flatten().tolist()} <= {
        round(value, 4) for value in np.linspace(0, 1, 50)
    }
    assert torch.equal(prior.project(x + 1), torch.ones(30, 2))
    assert torch.equal(prior.penalty(x), torch.zeros(30))
    moved = prior.augment(x, new()) - x
    assert 0 < moved.abs().max() < 0.1


@pytest.mark.parametrize(("shape", "layout"), [((1, 8, 8), "NCHW"), ((8, 8, 3), "NHWC")])
def test_pictures_move_as_those_drawn_here(shape: tuple[int, int, int], layout: Layout) -> None:
    input = spec(shape, layout)
    prior, x = built("Stored", input), torch.rand(5, *shape, generator=new(3))
    assert input.image_shape is not None
    image = ImagePrior(input, input.image_shape)
    assert torch.equal(prior.augment(x, new()), image.augment(x, new()))
    assert torch.equal(prior.penalty(x), image.penalty(x))


def test_what_it_has_is_used_and_bounds_are_not_left() -> None:
    prior, x = built("Whole"), torch.tensor([[0.2, 0.8], [-3.0, 7.0]])
    assert prior.project(x).tolist() == [[0, 1], [0, 1]]
    assert prior.augment(x, new()).tolist() == [[1, 1], [1, 1]]
    assert prior.penalty(x).tolist() == pytest.approx([3, 12])


def test_one_that_is_here_can_be_built_upon() -> None:
    x = built("Bound").draw(100, new())
    assert bool(((x >= 0) & (x <= 1)).all())


def test_what_rounding_left_outside_is_clamped() -> None:
    assert built("nearly").draw(3, new()).tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "number",
            "expected an object with draw(n, generator) from of_theirs:number; found a int without it",
        ),
        (
            "failing",
            "expected a prior from of_theirs:failing; found FileNotFoundError: no file unlabelled.npz",
        ),
        ("refusing", "expected a folder of pictures; found none. Give one."),
        ("Forgetful", "samples that follow from the generator, so that a run can be repeated"),
        ("flat", "expected samples of shape [4, 2], from of_theirs:flat; found [4, 4]"),
        (
            "pixels",
            "samples inside the range of the input, 0 to 1, from of_theirs:pixels; found values from 200",
        ),
        ("endless", "samples of finite numbers, from of_theirs:endless"),
        ("words", "an array from draw of of_theirs:words; found "),
        ("nothing", "draw of of_theirs:nothing to work; found KeyError: 4"),
        ("Thin", "expected [4, 2] from augment, from of_theirs:Thin; found [4, 1]"),
        ("Mean", "expected [4] from penalty, from of_theirs:Mean; found []"),
        ("missing", "expected a function missing in module of_theirs"),
    ],
)
def test_a_broken_promise_is_told_at_once(name: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        built(name)
    assert told in str(caught.value)


def test_one_that_goes_wrong_later_is_told_then() -> None:
    prior = built("Late")
    with pytest.raises(UsageError, match="found values from 0 to 255"):
        prior.draw(200, new())


def test_bounds_of_every_feature_hold() -> None:
    bounds = Bounds((0.0, -1.0), (1.0, 0.5), "test", False)
    input = InputSpec("x", (2,), "float32", "flat", bounds)
    with pytest.raises(UsageError, match="range of the input, -1 to 1"):
        OutsidePrior("of_theirs:Stored", input)
    within = ValueRange.of(input)
    assert torch.equal(within.clamp(torch.ones(1, 2)), torch.tensor([[1.0, 0.5]]))
