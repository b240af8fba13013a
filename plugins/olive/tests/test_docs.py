from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from cake_onnx_olive import run_workflow
from cake_onnx_olive.checking import checked
from cake_onnx_olive.cli import group, main
from docs.make_olive import PAGE, PARTS
from docs.make_readme import fill

TEXT = PAGE.read_text("utf-8")
WORKFLOWS = re.findall(r"^(\{\n.*?^\})$", TEXT, re.MULTILINE | re.DOTALL)
[WHOLE] = re.findall(r"<!-- workflow -->\n```json\n(.*?)```", TEXT, re.DOTALL)
FORTY_LINES = 40


def test_generated_parts_are_fresh() -> None:
    assert fill(TEXT, PARTS) == TEXT, "stale: run python -m docs.make_olive"


def test_a_stale_part_is_noticed() -> None:
    stale = TEXT.replace("| `seed` |", "| `sead` |")
    assert stale != TEXT
    assert fill(stale, PARTS) == TEXT


def test_the_first_workflow_comes_early() -> None:
    assert "cake-onnx-olive run workflow.json" in "\n".join(TEXT.splitlines()[:FORTY_LINES])


@pytest.mark.parametrize("text", WORKFLOWS)
def test_every_workflow_uses_parameters_that_exist(text: str) -> None:
    workflow: dict[str, Any] = json.loads(text)
    given = dict(workflow["passes"]["distil"])
    assert given.pop("type") == "CakeDistillation"
    assert checked(given, searching="search_strategy" in workflow)


def test_the_first_workflow_runs(tmp_path: Path, fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes((fixtures / "digits_cnn.onnx").read_bytes())
    workflow = json.loads(WORKFLOWS[0])
    workflow["passes"]["distil"] |= {"rounds": 1, "training_device": "cpu"}
    assert run_workflow(workflow).model == tmp_path / "out" / "model.onnx"


def test_the_complete_workflow_leaves_a_small_model_that_agrees(
    tmp_path: Path, fixtures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes((fixtures / "digits_cnn.onnx").read_bytes())
    (tmp_path / "workflow.json").write_text(WHOLE)
    main(["run", "workflow.json"])
    lines = capsys.readouterr().out.splitlines()
    found = re.fullmatch(r".*/out/model\.onnx: ([\d,]+) bytes, ([\d.]+)x smaller than the teacher", lines[0])
    assert found is not None
    assert float(found[2]) > 7  # 4x fewer parameters in 8 instead of 32 bits, and the graph around them
    facts = json.loads((tmp_path / "out" / "model_config.json").read_text())["config"]["model_attributes"]
    sizes = facts["cake_onnx"]["parameters"]
    assert sizes["teacher"] / sizes["student"] == pytest.approx(4, rel=0.05)
    agreement = re.fullmatch(r"Evaluated: agreement-accuracy_score ([\d.]+) \(input model 1\)", lines[2])
    assert agreement is not None
    assert float(agreement[1]) >= 0.85
    assert lines[3] == f"Evaluated: size-bytes {found[1].replace(',', '')} (input model 182314)"


def test_every_exit_code_and_command_is_on_the_page() -> None:
    for code in (0, 1, 2, 3, 4, 130):
        assert f"| {code} |" in TEXT
    for name in group.commands:
        assert f"cake-onnx-olive {name}" in TEXT


def test_the_page_names_what_the_readme_installs() -> None:
    readme = (ROOT / "plugins" / "olive" / "README.md").read_text("utf-8")
    assert "constraints/olive.txt" in readme
    assert (ROOT / "constraints" / "olive.txt").is_file()
    assert sys.version_info >= (3, 11)


def test_both_environments_pin_the_same_releases() -> None:
    pins = [
        dict(
            re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints" / name).read_text("utf-8"), re.MULTILINE)
        )
        for name in ("cpu.txt", "olive.txt")
    ]
    differing = {name for name in pins[0].keys() & pins[1].keys() if pins[0][name] != pins[1][name]}
    assert differing == {"pydantic", "pydantic_core"}
    assert "torchvision" not in pins[1]
