"""Real runs of Olive with other passes before and after ours, in a search, and from its cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from conftest import Workflow, distil, judged

from cake_onnx_olive import parameters, run_workflow

Build = Callable[..., Workflow]
LOADED = "Loaded model from cache"


def ran(log: list[str]) -> bool:
    """Whether a distillation ran since the log was last emptied."""
    found = any(line.startswith("CakeDistillation, distil: 100%") for line in log)
    log.clear()
    return found


def calibration(teacher: Path, **more: object) -> Workflow:
    params = {"teacher": str(teacher), "samples": 60, "training_device": "cpu", **more}
    return {"name": "calibration", "load_dataset_config": {"type": "cake_samples", "params": params}}


def test_distil_then_static_int8_then_metadata(workflow: Build, moons: Path, tmp_path: Path) -> None:
    passes = {
        "distil": distil(),
        "quantise": {"type": "OnnxStaticQuantization", "data_config": "calibration"},
        "mark": {"type": "AddOliveMetadata", "graph_name": "student"},
    }
    attributes = {"owner": "somebody"}
    source = {"type": "OnnxModel", "model_path": str(moons), "model_attributes": attributes}
    given = workflow(passes, input_model=source, data_configs=[calibration(moons)], **judged(moons, 0.8))
    outcome = run_workflow(given)
    model = onnx.load(outcome.model)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in model.graph.node}
    props = {prop.key: prop.value for prop in model.metadata_props}
    assert props["owner"] == "somebody"
    assert "cake_onnx.teacher_sha256" in props
    assert "olive_version" in props
    assert outcome.metrics["agreement-accuracy_score"] >= 0.8
    assert outcome.distillation is not None
    travelled = {path.name.split("-")[-1] for path in (tmp_path / "out").glob("cake-onnx-*")}
    assert travelled == {"report.json", "report.html", "MODEL_CARD.md"}


def test_a_search_over_compression_takes_the_most_alike(workflow: Build, moons: Path) -> None:
    passes = {"distil": distil(compression=[2, 20])}
    search = {"execution_order": "joint", "sampler": "sequential"}
    outcome = run_workflow(workflow(passes, search_strategy=search, **judged(moons)))
    assert outcome.distillation is not None
    assert outcome.distillation["parameters"]["student"] > 642 / 4
    assert outcome.skipped == ()


def test_a_second_run_comes_from_olives_cache_until_something_changes(
    workflow: Build,
    olives_log: list[str],
    tmp_path: Path,
    fixtures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = tmp_path / "test.npz"
    data.write_bytes((fixtures / "moons_test.npz").read_bytes())
    given = workflow({"distil": distil(eval=str(data))})

    first = run_workflow(given)
    assert ran(olives_log)

    assert run_workflow(given).distillation == first.distillation
    assert [line for line in olives_log if line.startswith(LOADED)]
    assert not ran(olives_log)

    monkeypatch.setattr(parameters, "version", lambda name: f"99 of {name}")
    run_workflow(given)
    assert ran(olives_log)
    monkeypatch.undo()

    data.write_bytes((fixtures / "moons_test.npz").read_bytes() + b"\0")
    run_workflow(given)
    assert ran(olives_log)


def test_calibration_is_part_of_the_key_of_what_is_calibrated() -> None:
    from olive.data.config import DataConfig

    filled = DataConfig(**calibration(Path("teacher.onnx"))).load_dataset_config.params
    assert filled["made_by"] == parameters.made_by()
    assert filled["seed"] == 0
