"""`inspect`: what a teacher is, without doing anything to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command

KEYS = ["file", "input", "range", "output", "operators", "built of", "parity", "prior"]


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("digits_cnn", "(batch, 1, 8, 8), NCHW", "logits: logits, 10 classes"),
        ("digits_mlp_sklearn", "(batch, 64), flat", "label+probabilities, 10 classes"),
        ("digits_softmax_dynamo", "(batch, 1, 8, 8), NCHW", "probabilities: probabilities, 10 classes"),
        ("moons_mlp", "(batch, 2), flat", "label+probabilities, 2 classes"),
    ],
)
def test_it_tells_what_the_teacher_is(
    name: str, shape: str, kind: str, fixtures: Path, cake: Command, tmp_path: Path
) -> None:
    answer = cake("inspect", fixtures / f"{name}.onnx", "--json")
    assert (answer.code, answer.err) == (0, "")
    facts = json.loads(answer.out)
    assert list(facts) == KEYS
    assert shape in facts["input"]
    assert kind in facts["output"]
    text = cake("inspect", fixtures / f"{name}.onnx").out
    assert [line.split("  ")[0] for line in text.splitlines()] == KEYS
    assert facts["operators"] in text
    assert not list(tmp_path.iterdir())


def test_it_repeats_the_range_it_was_told(fixtures: Path, cake: Command) -> None:
    words = ["inspect", fixtures / "digits_cnn.onnx", "--json"]
    assert json.loads(cake(*words).out)["range"].startswith("0 to 1, assumed")
    assert json.loads(cake(*words, "--input-range", "-1,2").out)["range"].startswith("-1 to 2, --input-range")
    assert json.loads(cake(*words, "--mean", "0.5", "--std", "0.5").out)["range"].startswith(
        "-1 to 1, --mean"
    )
