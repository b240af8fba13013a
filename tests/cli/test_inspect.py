"""`inspect`: what a teacher is, without doing anything to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command

KEYS = [
    *("file", "input", "range", "scale", "output", "operators", "batch"),
    *("parity", "gradient", "cost", "memory"),
]


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
    keys = [key for key in KEYS if key != "scale" or "assumed" in facts["range"]]
    assert list(facts) == keys
    assert shape in facts["input"]
    assert kind in facts["output"]
    text = cake("inspect", fixtures / f"{name}.onnx").out
    assert [line.split("  ")[0] for line in text.splitlines()] == keys
    assert facts["operators"] in text
    assert not list(tmp_path.iterdir())


def test_it_repeats_the_range_it_was_told(fixtures: Path, cake: Command) -> None:
    words = ["inspect", fixtures / "digits_cnn.onnx", "--json"]
    assumed = json.loads(cake(*words).out)
    assert assumed["range"].startswith("0 to 1, assumed")
    assert assumed["scale"].startswith("a guess from its answers, not used: 0 to 1;")
    assert json.loads(cake(*words, "--input-range", "-1,2").out)["range"].startswith("-1 to 2, --input-range")
    assert json.loads(cake(*words, "--mean", "0.5", "--std", "0.5").out)["range"].startswith(
        "-1 to 1, --mean"
    )


def test_it_tells_what_the_checks_reached_and_what_a_sample_costs(fixtures: Path, cake: Command) -> None:
    facts = json.loads(cake("inspect", fixtures / "digits_cnn.onnx", "--json").out)
    assert "convolution" in facts["operators"]
    assert "samples by the image prior" in facts["range"]
    assert facts["batch"] == "any batch at once"
    assert "largest difference" in facts["parity"]
    assert facts["gradient"].startswith("norm ")
    assert facts["cost"].startswith("920,192 multiply-adds")
    assert facts["memory"].endswith("MB for the gradients of a round's 250 samples")


def test_it_tells_where_a_round_does_not_fit_into_memory(
    fixtures: Path, cake: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def memory() -> str:
        return str(json.loads(cake("inspect", fixtures / "digits_cnn.onnx", "--json").out)["memory"])

    whole = float(memory().split()[1])
    monkeypatch.setattr("cake_onnx.inspection.samples_at_once", lambda place, each, most: most // 5)
    assert memory().endswith("50 of a round's 250 samples at a time")
    assert float(memory().split()[1]) < whole / 2


def test_a_trace_of_a_right_conversion_says_so(fixtures: Path, cake: Command) -> None:
    answer = cake("inspect", fixtures / "digits_cnn.onnx", "--trace", "--json")
    facts = json.loads(answer.out)
    assert answer.code == 0
    assert facts["first that differs"].startswith("none")
    assert "12 inner tensors" in facts["compared"]


def test_a_trace_of_a_wrong_one_names_the_operator(
    fixtures: Path, cake: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.nn.ReLU.forward", lambda self, x: x.abs())
    monkeypatch.setattr("torch.nn.functional.relu", lambda x, inplace=False: x.abs())
    path = fixtures / "digits_cnn.onnx"
    refusal = cake("inspect", path)
    assert refusal.code == 3
    assert "--trace" in refusal.err
    answer = cake("inspect", path, "--trace")
    assert answer.code == 3
    assert "Relu-14, shape [1, " in answer.out
