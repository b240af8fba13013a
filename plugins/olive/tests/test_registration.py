"""The ways into Olive that need no command of ours: Python, and `olive run`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from conftest import Workflow, judged
from olive.package_config import OlivePackageConfig

from cake_onnx_olive import CakeDistillation, components, package_config


def test_olives_own_passes_stay_and_ours_is_found() -> None:
    own = json.loads(Path(OlivePackageConfig.get_default_config_path()).read_text())
    table = package_config()
    assert {name: table["passes"][name] for name in own["passes"]} == own["passes"]
    assert set(table["passes"]) - set(own["passes"]) == {"CakeDistillation"}
    assert table["extra_dependencies"] == own["extra_dependencies"]
    parsed = OlivePackageConfig.parse_file_or_obj(table)
    assert parsed.import_pass_module("CakeDistillation") is CakeDistillation


def test_a_table_of_the_user_is_added_to(tmp_path: Path) -> None:
    theirs = {"passes": {"Theirs": {"module_path": "a.b.Theirs"}}}
    path = tmp_path / "table.json"
    path.write_text(json.dumps(theirs))
    for base in (theirs, path, str(path)):
        assert list(package_config(base)["passes"]) == ["Theirs", "CakeDistillation"]
    assert list(theirs["passes"]) == ["Theirs"]


def test_olives_own_command_runs_it(workflow: Callable[..., Workflow], moons: Path, tmp_path: Path) -> None:
    given = workflow(**judged(moons, user_script=components.__file__))
    (tmp_path / "workflow.json").write_text(json.dumps(given))
    table = [sys.executable, "-m", "cake_onnx_olive", "package-config"]
    (tmp_path / "table.json").write_bytes(subprocess.run(table, stdout=subprocess.PIPE, check=True).stdout)
    olive = str(Path(sys.executable).with_name("olive"))
    command = [olive, "run", "--config", "workflow.json", "--package-config", "table.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "model.onnx").is_file()
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["agreement-accuracy_score"]["value"] > 0.5
