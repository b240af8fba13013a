from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from olive.data.config import DataConfig

from cake_onnx_olive import DistillationError
from cake_onnx_olive.samples import cake_samples


def test_samples_fit_the_input_and_are_labelled_by_the_teacher(fixtures: Path) -> None:
    path = fixtures / "digits_cnn.onnx"
    found = cake_samples(teacher=str(path), samples=40, input_range=[0, 1], training_device="cpu")
    assert len(found) == 40
    session = onnxruntime.InferenceSession(path)
    [entry] = session.get_inputs()
    x = np.stack([found[i][0][entry.name].numpy() for i in range(40)])
    assert x.shape == (40, 1, 8, 8)
    assert 0 <= x.min() < x.max() <= 1
    labels = [found[i][1] for i in range(40)]
    assert len(set(labels)) > 2
    agreed = session.run(None, {entry.name: x})[0].argmax(1) == labels
    assert agreed.mean() >= 0.95  # samples lie at the boundary, where rounding decides


def test_olive_calibrates_on_them(moons: Path) -> None:
    params = {"teacher": str(moons), "samples": 10, "training_device": "cpu"}
    config = DataConfig(name="few", load_dataset_config={"type": "cake_samples", "params": params})
    reader = config.to_data_container().create_calibration_dataloader()
    batches = list(iter(reader.get_next, None))
    [name] = batches[0]
    assert len(batches) == 10
    assert batches[0][name].shape == (1, 2)
    assert batches[0][name].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sample": 3}, "Write `samples`"),
        ({"samples": 0}, "whole number from 1"),
        ({"teacher": None}, "`teacher` in the params of cake_samples"),
        ({"input_range": "1,0"}, "input_range must be the smaller"),
        ({"compression": 4}, "known parameters of cake_samples"),
    ],
)
def test_mistakes_are_told(change: dict[str, object], told: str, moons: Path) -> None:
    with pytest.raises(DistillationError, match=told):
        cake_samples(**{"teacher": str(moons), **change})
