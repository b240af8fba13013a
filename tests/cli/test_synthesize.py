"""`synthesize`: samples and what the teacher says of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file

from cake_onnx.config import Config
from cake_onnx.synthesis import synthesize
from tests.cli.conftest import Command


def read(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    return load_file(path) if path.suffix == ".safetensors" else dict(np.load(path, allow_pickle=False))


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_samples_lie_in_the_range_and_carry_the_teachers_label(
    ending: str, fixtures: Path, cake: Command, tmp_path: Path
) -> None:
    teacher = fixtures / "digits_mlp_sklearn.onnx"
    words = ["-n", "130", "--input-range", "0,16", "-o", f"deep/samples.{ending}", "--json"]
    answer = cake("synthesize", teacher, *words)
    assert answer.code == 0
    assert json.loads(answer.out) == {"file": f"deep/samples.{ending}", "samples": 130, "shape": [64]}
    held = read(tmp_path / f"deep/samples.{ending}")
    assert {name: value.shape for name, value in held.items()} == {
        "x": (130, 64), "logits": (130, 10), "label": (130,), "wanted": (130,),
    }  # fmt: skip
    assert held["x"].dtype == np.float32
    assert 0 <= held["x"].min() < held["x"].max() <= 16
    assert np.array_equal(held["logits"].argmax(1), held["label"])
    session = onnxruntime.InferenceSession(str(teacher), providers=["CPUExecutionProvider"])
    said = session.run(["output_label"], {"features": held["x"]})[0]
    assert np.array_equal(said, held["label"])
    assert len(set(held["wanted"].tolist())) == 10


def test_seeds_differ_and_repeat(fixtures: Path, cake: Command, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        words = ["-n", "20", "--seed", seed, "-o", f"{name}.npz", "-q"]
        answer = cake("synthesize", fixtures / "moons_mlp.onnx", *map(str, words))
        assert (answer.code, answer.err) == (0, "")
    a, b, c = (read(tmp_path / f"{name}.npz")["x"] for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_file_is_replaced_only_when_asked(fixtures: Path, cake: Command, tmp_path: Path) -> None:
    words = ["synthesize", fixtures / "moons_mlp.onnx", "-n", "10", "-q"]
    assert cake(*words).code == 0
    first = (tmp_path / "moons_mlp-samples.npz").read_bytes()
    assert cake(*words, "--seed", "1").code == 2
    assert (tmp_path / "moons_mlp-samples.npz").read_bytes() == first
    assert cake(*words, "--seed", "1", "--overwrite").code == 0
    assert (tmp_path / "moons_mlp-samples.npz").read_bytes() != first
    assert [path.name for path in tmp_path.iterdir()] == ["moons_mlp-samples.npz"]


def test_the_first_of_many_are_those_asked_for_alone(fixtures: Path) -> None:
    config = Config(device="cpu")
    seen: list[int] = []
    few = synthesize(fixtures / "moons_mlp.onnx", 30, config)
    many = synthesize(fixtures / "moons_mlp.onnx", 230, config, lambda told: seen.append(told.done))
    assert torch.equal(many.x[:30], few.x)
    assert torch.equal(many.logits[:30], few.logits)
    assert (len(few), len(many), len(many.travelled)) == (30, 230, 230)
    assert seen == [0, 100, 200, 230]
    way = many.travelled[:100].view(-1, 2).mean(0)
    assert way[0] < way[1], "half way and end in turns"
