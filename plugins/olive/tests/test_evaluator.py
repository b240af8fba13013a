from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from conftest import judged
from olive.evaluator.olive_evaluator import OliveEvaluatorConfig
from olive.model import ONNXModelHandler

from cake_onnx_olive import DistillationError
from cake_onnx_olive.components import AgreementEvaluator

KEY = "agreement-accuracy_score"


def config(teacher: Path, **more: Any) -> OliveEvaluatorConfig:
    return OliveEvaluatorConfig(**judged(teacher, training_device="cpu", **more)["evaluators"]["alike"])


def evaluated(teacher: Path, model: Path, **more: Any) -> dict[str, Any]:
    evaluator = config(teacher, **more)
    handler = ONNXModelHandler(model)
    result = evaluator.create_evaluator(handler).evaluate(handler, evaluator.metrics)
    return {name: part.value for name, part in result.root.items()}


def test_a_model_agrees_with_itself_and_its_size_is_olives(moons: Path) -> None:
    assert evaluated(moons, moons) == {KEY: 1.0, "size-bytes": moons.stat().st_size}


def test_agreement_on_data_of_the_user_is_what_onnxruntime_says(fixtures: Path) -> None:
    teacher, other = fixtures / "digits_cnn.onnx", fixtures / "digits_softmax_dynamo.onnx"
    data = fixtures / "digits_unit_test.npz"
    x = np.load(data)["x"].astype(np.float32).reshape(-1, 1, 8, 8)
    classes = []
    for path in (teacher, other):
        session = onnxruntime.InferenceSession(path)
        classes.append(session.run(None, {session.get_inputs()[0].name: x})[0].argmax(1))
    wanted = (classes[0] == classes[1]).mean()
    assert 0.5 < wanted < 1
    assert evaluated(teacher, other, eval=str(data), input_range=[0, 1])[KEY] == pytest.approx(wanted)


def test_other_metrics_stay_olives(moons: Path) -> None:
    latency: dict[str, Any] = {"name": "latency", "type": "latency", "sub_types": [{"name": "avg"}]}
    latency["data_config"] = {
        "name": "dummy",
        "type": "DummyDataContainer",
        "load_dataset_config": {"params": {"input_shapes": [[1, 2]], "input_names": ["X"], "max_samples": 1}},
    }
    evaluator = OliveEvaluatorConfig(
        type="CakeAgreement", type_args={"teacher": str(moons)}, metrics=[latency]
    )
    handler = ONNXModelHandler(moons)
    found = evaluator.create_evaluator(handler).evaluate(handler, evaluator.metrics).root
    assert found["latency-avg"].value > 0


@pytest.mark.parametrize(("name", "sub_type"), [("accuracy", "accuracy_score"), ("agreement", "f1_score")])
def test_agreement_goes_by_no_other_name(name: str, sub_type: str, moons: Path) -> None:
    metric = {"name": name, "type": "accuracy", "sub_types": [{"name": sub_type}]}
    evaluator = OliveEvaluatorConfig(
        type="CakeAgreement", type_args={"teacher": str(moons)}, metrics=[metric]
    )
    handler = ONNXModelHandler(moons)
    with pytest.raises(DistillationError, match="to be called `agreement`"):
        evaluator.create_evaluator(handler).evaluate(handler, evaluator.metrics)


def test_mistakes_are_told_when_it_is_made(moons: Path) -> None:
    with pytest.raises(DistillationError, match="`teacher` in CakeAgreement"):
        AgreementEvaluator()
    with pytest.raises(DistillationError, match="Write `input_range`"):
        AgreementEvaluator(str(moons), input_rang="0,1")
    with pytest.raises(DistillationError, match="known parameters of CakeAgreement"):
        AgreementEvaluator(str(moons), compression=4)
