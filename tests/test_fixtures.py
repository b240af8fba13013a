from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "fixtures"
MANIFEST: dict[str, dict[str, dict[str, Any]]] = json.loads((FOLDER / "MANIFEST.json").read_text("utf-8"))
MODELS, DATA = MANIFEST["models"], MANIFEST["data"]
FILES = MODELS | DATA


def test_manifest_names_every_fixture() -> None:
    found = {path.name for path in FOLDER.iterdir() if path.suffix in {".onnx", ".npz"}}
    assert found == set(FILES)


def test_fixtures_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 1_000_000


@pytest.mark.parametrize("name", sorted(FILES))
def test_file_is_the_one_of_the_manifest(name: str) -> None:
    content = (FOLDER / name).read_bytes()
    assert len(content) == FILES[name]["bytes"]
    assert hashlib.sha256(content).hexdigest() == FILES[name]["sha256"]


@pytest.mark.parametrize("name", sorted(DATA))
def test_data_has_the_shapes_of_the_manifest(name: str) -> None:
    with np.load(FOLDER / name, allow_pickle=False) as held:
        x, y = held["x"], held["y"]
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert list(x.shape) == DATA[name]["x"]
    assert list(y.shape) == DATA[name]["y"] == [DATA[name]["n"]]
    assert DATA[name]["licence"]
    assert DATA[name]["source"]


def test_the_three_digit_files_hold_the_same_images() -> None:
    raw = np.load(FOLDER / "digits_test.npz")["x"]
    assert np.array_equal(np.load(FOLDER / "digits_raw_test.npz")["x"], raw.reshape(-1, 64))
    assert np.array_equal(np.load(FOLDER / "digits_unit_test.npz")["x"], raw[:, None] / 16)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_accuracy_is_the_one_of_the_manifest(name: str) -> None:
    about = MODELS[name]
    with np.load(FOLDER / about["test"], allow_pickle=False) as held:
        x, y = held["x"], held["y"]
    session = onnxruntime.InferenceSession(str(FOLDER / name), providers=["CPUExecutionProvider"])
    first = np.asarray(session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: x})[0])
    predicted = first.argmax(axis=1) if first.ndim == 2 else first
    # One sample of leave: another processor may round a tie the other way.
    assert (predicted == y).mean() == pytest.approx(about["accuracy"], abs=1.01 / about["n"])
    assert about["accuracy"] > 0.95
    assert about["n"] == len(y)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_model_has_the_opset_and_a_free_batch(name: str) -> None:
    model = onnx.load(FOLDER / name)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == MODELS[name]["opset"]
    assert not model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")


@pytest.mark.parametrize("name", sorted(name for name, about in MODELS.items() if about["test"] in DATA))
def test_test_data_lies_in_the_stated_range(name: str) -> None:
    about = MODELS[name]
    x = np.load(FOLDER / about["test"])["x"]
    low, high = about["input"]["range"]
    # The moons' range is that of the training points; test points have the same noise, not the same extremes.
    slack = 0.1 * (high - low) if about["test"] == "moons_test.npz" else 0.0
    assert low - slack <= x.min() < x.max() <= high + slack
