from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Workflow, distil, judged
from failing_passes import TABLE, RefusedByOlive
from olive.workflows import run

from cake_onnx_olive import DistillationError, GateError, package_config, run_workflow
from cake_onnx_olive.cli import main

Build = Callable[..., Workflow]
MISNAMED = {"name": "accuracy", "type": "accuracy", "sub_types": [{"name": "accuracy_score"}]}
SEARCH = {"execution_order": "joint", "sampler": "sequential"}


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command on a workflow; its exit code, stdout and stderr."""

    def call(workflow: Workflow, *more: str) -> tuple[int, str, str]:
        path, table = tmp_path / "workflow.json", tmp_path / "table.json"
        path.write_text(json.dumps(workflow))
        table.write_text(json.dumps(package_config(package_config() | {"passes": with_failures()})))
        code: int | str | None = 0
        try:
            main(["run", str(path), "--package-config", str(table), *more])
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        assert isinstance(code, int)
        return code, said.out, said.err

    return call


def with_failures() -> dict[str, Any]:
    return {**package_config()["passes"], **TABLE["passes"]}


def test_a_model_that_passed_ends_with_0_and_a_closing_note(
    command: Callable[..., tuple[int, str, str]], workflow: Build, moons: Path, tmp_path: Path
) -> None:
    code, out, _ = command(workflow(**judged(moons, goal=0.5)))
    assert code == 0
    model = tmp_path / "out" / "model.onnx"
    size = f"{model.stat().st_size:,} bytes"
    lines = out.splitlines()
    assert lines[0].startswith(f"{model}: {size}, ")
    assert lines[0].endswith("x smaller than the teacher")
    assert "agrees with its teacher on" in lines[1]
    assert re.fullmatch(r"Evaluated: agreement-accuracy_score (1|0\.\d+) \(input model 1\)", lines[2])
    assert lines[3].startswith(f"Evaluated: size-bytes {model.stat().st_size} (input model ")
    assert len(lines) == 4


@pytest.mark.parametrize("level", [1, 4])
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("OutOfMemory", "RuntimeError: "),
        ("NoFolder", "NotADirectoryError: "),
        ("RefusedByOlive", "OlivePassError: the graph has an operator that this pass does not know"),
        ("InvalidParameters", "Invalid config, pruned"),
    ],
)
def test_where_olive_ends_with_0_and_no_model_the_command_ends_with_4(
    name: str,
    cause: str,
    level: int,
    command: Callable[..., tuple[int, str, str]],
    workflow: Build,
    tmp_path: Path,
    olives_log: list[str],
) -> None:
    broken = workflow({"broken": {"type": name}}, log_severity_level=level)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.onnx").write_bytes(b"of a run before")
    alone = run(
        copy.deepcopy(broken), package_config={"passes": with_failures()}
    )  # Olive changes what it is given
    assert not alone.has_output_model()

    olives_log.clear()

    code, out, error = command(broken | {"cache_dir": str(tmp_path / "fresh")})
    assert code == 4
    shown = [
        line for line in olives_log if "run failed" in line or "run_pass failed" in line or "pruned" in line
    ]
    assert bool(shown) == (level == 1), "the log shows what its level lets through"
    assert out == ""
    assert error.splitlines()[-1].startswith("cake-onnx-olive: no output model: ")
    assert cause in error.splitlines()[-1]


def test_a_failure_that_olive_remembers_is_told(workflow: Build) -> None:
    broken = workflow({"broken": {"type": "RefusedByOlive"}})
    table = {"passes": with_failures()}
    with pytest.raises(DistillationError, match="OlivePassError"):
        run_workflow(broken, table)
    runs = RefusedByOlive.runs
    with pytest.raises(
        DistillationError, match=r"cache holds a failure of refusedbyolive .* set clean_cache"
    ) as raised:
        run_workflow(broken, table)
    assert raised.value.exit_code == 4
    assert RefusedByOlive.runs == runs


def test_out_of_memory_in_our_own_pass_ends_olive_itself(
    workflow: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    # The allocation fails for real; only its place is arranged.
    monkeypatch.setattr("cake_onnx_olive.distillation.compress", lambda *_, **__: torch.empty(2**50))
    with pytest.raises(ValueError, match="distillation failed with RuntimeError"):
        run(workflow(), package_config=package_config())


def test_a_gate_of_the_pass_ends_with_1(
    command: Callable[..., tuple[int, str, str]], workflow: Build
) -> None:
    code, out, error = command(workflow({"distil": distil(compression=20, min_agreement=1)}))
    assert (code, out) == (1, "")
    assert re.search(
        r"expected agreement on (held-out samples|samples between classes) >= 100\.00%",
        error.splitlines()[-1],
    )


def test_a_goal_that_is_missed_ends_with_1_though_olive_ignores_it(
    command: Callable[..., tuple[int, str, str]], workflow: Build, moons: Path, tmp_path: Path
) -> None:
    code, out, error = command(workflow({"distil": distil(compression=20)}, **judged(moons, goal=1.0)))
    assert (code, out) == (1, "")
    last = error.splitlines()[-1]
    assert "expected agreement-accuracy_score >= 1 (threshold); found 0." in last
    assert str(tmp_path / "out" / "model.onnx") in last


def test_a_changed_evaluator_is_not_answered_from_olives_cache(
    workflow: Build, moons: Path, fixtures: Path
) -> None:
    held_out = run_workflow(workflow(**judged(moons)))
    users = run_workflow(workflow(**judged(moons, eval=str(fixtures / "moons_test.npz"))))
    key = "agreement-accuracy_score"
    assert held_out.model == users.model
    assert held_out.metrics[key] != users.metrics[key]
    assert (users.metrics[key] * 600) % 1 == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"passes": {"distil": distil(compresion=4)}}, "Write `compression`"),
        ({"passes": {"distil": {"type": "CakeDistilation"}}}, "Write `cakedistillation`"),
        ({"passes": {"distil": distil(compression="many")}}, "`compression`"),
        ({"evaluators": {"alike": {"type": "CakeAgreement", "metrics": []}}}, "`teacher` in CakeAgreement"),
        ({"evaluators": {"alike": {"type": "CakeAgreement", "teacher": "x", "sed": 1}}}, "Write `seed`"),
        (
            {"evaluators": {"alike": {"type": "CakeAgreement", "teacher": "x", "metrics": [MISNAMED]}}},
            "to be called `agreement`",
        ),
        ({"evaluators": {"alike": {"type": "NoSuchEvaluator"}}}, "NoSuchEvaluator"),
        (
            {"data_configs": [{"name": "d", "load_dataset_config": {"type": "cake_samples", "n": 3}}]},
            "known parameters of cake_samples",
        ),
        ({"passes": {}}, "expected passes in the workflow"),
        ({"input_model": {}}, "a workflow that Olive accepts"),
    ],
)
def test_mistakes_end_with_2_before_anything_runs(
    change: Workflow, told: str, command: Callable[..., tuple[int, str, str]], workflow: Build, tmp_path: Path
) -> None:
    code, out, error = command(workflow() | change)
    assert (code, out) == (2, "")
    assert told in error.splitlines()[-1]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("content", ["{", "[1]", "{}"])
def test_a_file_that_is_no_workflow_ends_with_2(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "workflow.json"
    path.write_text(content)
    with pytest.raises(SystemExit) as raised:
        main(["run", str(path)])
    assert raised.value.code == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[1]", '{"passes": {"Theirs": {}}}'])
def test_a_table_that_is_none_ends_with_2(
    content: str, workflow: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, path = tmp_path / "table.json", tmp_path / "workflow.json"
    table.write_text(content)
    path.write_text(json.dumps(workflow()))
    for words in (["run", str(path)], ["package-config"]):
        with pytest.raises(SystemExit) as raised:
            main([*words, "--package-config", str(table)])
        assert raised.value.code == 2
        assert "expected a table of passes" in capsys.readouterr().err


def test_a_teacher_that_cannot_be_distilled_ends_with_3(
    command: Callable[..., tuple[int, str, str]], workflow: Build, moons: Path
) -> None:
    import onnx

    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 1])
    node = onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)
    graph = onnx.helper.make_graph([node], "regressor", [x], [y])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), moons
    )
    code, _, error = command(workflow())
    assert code == 3, error


def test_a_search_of_which_every_point_fails_the_gate_ends_with_1(workflow: Build, moons: Path) -> None:
    passes = {"distil": distil(compression=[16, 20], min_agreement=1)}
    with pytest.raises(DistillationError, match=r"no output model: Olive went on after GateError") as raised:
        run_workflow(workflow(passes, search_strategy=SEARCH, **judged(moons)))
    assert raised.value.exit_code == GateError.exit_code == 1


def test_an_interrupt_ends_with_130(
    command: Callable[..., tuple[int, str, str]], workflow: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cake_onnx_olive.distillation.compress", interrupted)
    code, out, error = command(workflow())
    assert (code, out) == (130, "")
    assert "interrupted" in error.splitlines()[-1]


def test_the_installed_command_keeps_stdout_for_the_result(workflow: Build, tmp_path: Path) -> None:
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(workflow()))
    program = Path(sys.executable).with_name("cake-onnx-olive")
    done = subprocess.run([program, "run", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert "CakeDistillation, distil: 100%" in done.stderr


def test_help_needs_no_olive() -> None:
    code = "import sys; sys.argv[1:] = ['run', '--help']; from cake_onnx_olive.cli import main; main()"
    checked = f"try:\n  exec({code!r})\nfinally:\n  assert not {{'olive', 'torch'}} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{checked}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "CONFIG" in done.stdout


@pytest.mark.parametrize("beside", [True, False])
def test_a_file_that_olive_mistakes_for_the_output_of_a_pass_ends_with_4(
    beside: bool, workflow: Build, moons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if beside:
        moons.rename("model.onnx")
        moons = Path("model.onnx")
    fix = {"type": "DynamicToFixedShape", "dim_param": ["N"], "dim_value": [1]}
    source = {"type": "OnnxModel", "model_path": str(moons)}
    given = workflow({"distil": distil(), "fix": fix}, input_model=source, **judged(moons))
    if not beside:
        assert run_workflow(given).metrics["size-bytes"] < moons.stat().st_size
        return
    with pytest.raises(DistillationError, match=r"Olive took model\.onnx in the current folder") as raised:
        run_workflow(given)
    assert raised.value.exit_code == 4
    measured = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert measured["size-bytes"]["value"] == moons.stat().st_size, "the teacher was measured"
