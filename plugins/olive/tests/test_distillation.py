from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from conftest import Workflow, distil
from olive.hardware import AcceleratorSpec
from olive.model import CompositeModelHandler, ONNXModelHandler, PyTorchModelHandler
from olive.passes.olive_pass import create_pass_from_dict
from olive.search.search_parameter import Categorical
from olive.workflows import run

from cake_onnx_olive import CakeDistillation, DistillationError, GateError, package_config
from cake_onnx_olive.distillation import latency_provider

CPU = AcceleratorSpec("CPU", "CPUExecutionProvider")
CUDA = AcceleratorSpec("GPU", "CUDAExecutionProvider")
Build = Callable[..., Workflow]


def make(accelerator: AcceleratorSpec = CPU, **parameters: Any) -> CakeDistillation:
    settings = {"rounds": 1, "training_device": "cpu", **parameters}
    made = create_pass_from_dict(CakeDistillation, settings, True, accelerator)
    assert isinstance(made, CakeDistillation)
    return made


def test_a_pass_gives_a_smaller_drop_in(moons: Path, tmp_path: Path) -> None:
    output = make().run(ONNXModelHandler(moons), str(tmp_path / "out"))
    teacher, student = onnx.load(moons), onnx.load(output.model_path)
    assert [o.name for o in student.graph.output] == [o.name for o in teacher.graph.output]
    facts = output.model_attributes["cake_onnx"]
    assert facts["parameters"]["student"] * 4 <= facts["parameters"]["teacher"] * 1.05
    assert facts["bytes"]["student"] == Path(output.model_path).stat().st_size
    assert 0 <= facts["agreement"]["low"] <= facts["agreement"]["agreement"] <= 1


def test_a_student_can_come_quantised(moons: Path, tmp_path: Path) -> None:
    output = make(quantize="int8").run(ONNXModelHandler(moons), str(tmp_path / "out"))
    student = onnx.load(output.model_path)
    assert "QuantizeLinear" in {node.op_type for node in student.graph.node}
    assert output.model_attributes["cake_onnx"]["bytes"]["student"] == student.ByteSize()


def test_what_came_with_the_input_stays_and_ours_is_added(moons: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "report.json"
    theirs.write_text("theirs")
    attributes = {"owner": "somebody", "additional_files": [str(theirs)]}
    output = make().run(ONNXModelHandler(moons, model_attributes=attributes), str(tmp_path / "out"))
    assert output.model_attributes["owner"] == "somebody"
    assert attributes == {"owner": "somebody", "additional_files": [str(theirs)]}
    files = {Path(file).name: Path(file) for file in output.model_attributes["additional_files"]}
    assert files["report.json"].read_text() == "theirs"
    kinds = sorted(name.split("-")[-1] for name in files if name.startswith("cake-onnx-"))
    assert kinds == ["MODEL_CARD.md", "report.html", "report.json"]
    assert all(file.parent == tmp_path / "out" for file in files.values())


def test_two_distillations_in_a_row_keep_both_reports(workflow: Build, tmp_path: Path) -> None:
    passes = {"first": distil(compression=2), "second": distil(compression=2, seed=1)}
    run(workflow(passes), package_config=package_config())
    reports = [json.loads(file.read_text()) for file in (tmp_path / "out").glob("cake-onnx-*-report.json")]
    assert len(reports) == 2
    students = {report["student"]["sha256"] for report in reports}
    teachers = {report["teacher"]["sha256"] for report in reports}
    assert len(students & teachers) == 1, "the first student is the second teacher"


def test_metadata_of_the_teacher_survives(moons: Path, tmp_path: Path) -> None:
    output = make().run(ONNXModelHandler(moons), str(tmp_path / "out"))
    props = {prop.key: prop.value for prop in onnx.load(output.model_path).metadata_props}
    assert props["owner"] == "somebody"
    assert props["cake_onnx.teacher_sha256"] == output.model_attributes["cake_onnx"]["teacher_sha256"]


def test_latency_is_judged_on_the_accelerator(moons: Path, tmp_path: Path) -> None:
    output = make(CPU).run(ONNXModelHandler(moons), str(tmp_path / "out"))
    [report] = (tmp_path / "out").glob("*-report.json")
    rows = json.loads(report.read_text())["student"]["latency"]
    assert output
    assert {row["provider"] for row in rows} == {"CPUExecutionProvider"}


def test_an_accelerator_that_is_not_here_leaves_latency_out(
    moons: Path, tmp_path: Path, olives_log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "cake_onnx_olive.distillation.get_available_providers", lambda: ["CPUExecutionProvider"]
    )
    make(CUDA).run(ONNXModelHandler(moons), str(tmp_path / "out"))
    [report] = (tmp_path / "out").glob("*-report.json")
    assert json.loads(report.read_text())["student"]["latency"] == []
    assert [line for line in olives_log if "has no CUDAExecutionProvider" in line]


def test_an_accelerator_of_which_only_the_device_is_known() -> None:
    assert latency_provider(AcceleratorSpec("CPU", None)) == "CPUExecutionProvider"
    assert latency_provider(AcceleratorSpec("NPU", None)) is None


def test_accelerators_do_not_share_results() -> None:
    assert not CakeDistillation.is_accelerator_agnostic(CPU)


def test_a_gate_that_fails_ends_the_run_and_keeps_the_report(moons: Path, tmp_path: Path) -> None:
    with pytest.raises(
        GateError,
        match=r"expected agreement on (held-out samples|samples between classes) >= 100\.00%; found",
    ) as raised:
        make(compression=20, min_agreement="100%").run(ONNXModelHandler(moons), str(tmp_path / "out"))
    assert raised.value.exit_code == 1
    [page] = (tmp_path / "out").glob("*-report.html")
    assert str(page) in str(raised.value)


@pytest.mark.parametrize("searching", [False, True])
def test_unknown_parameters_are_errors_of_a_class_that_ends_the_run(searching: bool) -> None:
    with pytest.raises(DistillationError, match="Write `compression`") as raised:
        CakeDistillation.generate_config(CPU, {"compresion": 4}, disable_search=not searching)
    assert isinstance(raised.value, ValueError)
    assert raised.value.exit_code == 2


def test_a_bad_value_names_the_parameter() -> None:
    with pytest.raises(DistillationError, match=r"`training_device`; found `tpu`"):
        make(training_device="tpu")


def test_values_are_read_as_on_the_command_line() -> None:
    config = make(compression="8x", input_range="0,1", min_agreement="97%").config
    assert (config.compression, config.input_range, config.min_agreement) == (8.0, (0.0, 1.0), 0.97)


def test_a_search_tries_compression_alone_unless_asked() -> None:
    _, fixed, searched = CakeDistillation.get_config_params(CPU, {"rounds": 1})
    assert list(searched) == ["compression"]
    assert (fixed["student"], fixed["budget"]) == ("auto", "medium")


def test_a_list_is_a_search() -> None:
    given = {"compression": ["2x", 16], "student": ["mlp", "like-teacher"], "budget": "SEARCHABLE_VALUES"}
    _, _, searched = CakeDistillation.get_config_params(CPU, given)
    values = {name: parameter.get_support() for name, parameter in searched.items()}
    assert values == {
        "compression": [2.0, 16.0],
        "student": ["mlp", "like-teacher"],
        "budget": ["small", "medium", "large"],
    }
    assert all(isinstance(parameter, Categorical) for parameter in searched.values())


def test_a_value_in_a_list_is_checked_too() -> None:
    with pytest.raises(DistillationError, match="`compression`"):
        CakeDistillation.get_config_params(CPU, {"compression": [2, "many"]})


def test_a_configuration_that_olive_wrote_can_be_read_back(moons: Path, tmp_path: Path) -> None:
    written = make(compression=2, mean=[0.5], std=[0.25]).to_json()
    again = CakeDistillation.generate_config(CPU, json.loads(json.dumps(written))["config"])
    assert again.to_json() == written["config"]


def test_other_models_than_onnx_are_refused(moons: Path, tmp_path: Path) -> None:
    torch_model = PyTorchModelHandler(model_path=str(moons), model_loader=lambda path: path)
    parts = CompositeModelHandler([ONNXModelHandler(moons)] * 2, ["one", "two"])
    for model in (torch_model, parts):
        with pytest.raises(
            DistillationError, match=f"one ONNX model for CakeDistillation; found {type(model).__name__}"
        ):
            make().run(model, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
