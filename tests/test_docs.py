from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cake_onnx.cli.main import group
from cake_onnx.errors import CakeError, RunFailedError, UnsupportedTeacherError, UsageError
from cake_onnx.workspace import RESULTS
from docs import result_pictures
from docs.make_readme import PARTS, fill

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text("utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("name", PARTS)
def test_generated_parts_are_fresh(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert text == fill(text, PARTS[name]), "stale: run python docs/make_readme.py"


def test_a_stale_part_is_noticed() -> None:
    stale = README.replace("| `--seed N` |", "| `--sead N` |")
    assert stale != README
    assert fill(stale, PARTS["README.md"]) == README


def test_a_missing_place_is_noticed() -> None:
    with pytest.raises(ValueError, match="places"):
        fill(README.replace("<!-- options:begin -->", ""), PARTS["README.md"])


@pytest.mark.parametrize("name", ["make_readme", "make_speed", "make_results", "make_choices"])
def test_the_checks_of_the_generators_pass(name: str) -> None:
    done = subprocess.run([sys.executable, f"docs/{name}.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, f"stale: run python docs/{name}.py"


def test_more_rows_than_there_are_colours_can_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_pictures, "PICTURES", tmp_path)
    run = {"arm": "rounds", "variant": "", "rounds": "335", "passes": "2000000", "accuracy": "0.9"}
    rows = [f"mnist_{number}/auto/4" for number in range(25)]
    result_pictures.draw([run | {"row": row} for row in (*rows, "mnist_0/vit/1")], [])
    drawn = (tmp_path / "mnist.svg").read_text()
    assert "<!-- the teacher, grown down -->" in drawn
    assert "<!-- another family, from scratch -->" in drawn
    assert "<!-- half the width, from scratch -->" not in drawn


@pytest.mark.parametrize("name", sorted(group.commands))
def test_every_command_is_documented(name: str) -> None:
    assert f"| `cake-onnx {name} " in README
    assert re.search(rf"^  {name} ", README, re.MULTILINE), "the quoted help names it"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    targets = [link.partition("#")[0] for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    dead = [target for target in targets if target and not (page.parent / target).exists()]
    assert not dead


def test_first_code_comes_early() -> None:
    assert any(line.startswith("```") for line in README.splitlines()[:20])


def test_code_in_the_readme_is_code() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        ast.parse(block)


def test_quoted_commands_know_their_options() -> None:
    lines = re.findall(r"^cake-onnx (\w+) (.*?)(?:\s+#.*)?$", README, re.MULTILINE)
    assert {name for name, _ in lines} >= {"inspect", "compress", "validate"}
    for name, words in lines:
        known = {option for parameter in group.commands[name].params for option in parameter.opts}
        assert {word for word in words.split() if word.startswith("-")} <= known


@pytest.mark.parametrize("error", [CakeError, RunFailedError, UnsupportedTeacherError, UsageError])
def test_exit_codes_are_those_of_the_errors(error: type[CakeError]) -> None:
    assert re.search(rf"^\| {error.exit_code} \| ", README, re.MULTILINE)


def test_every_file_of_a_result_is_explained() -> None:
    assert all(f"| `{name}` | " in README for name in RESULTS)


def test_the_architecture_has_every_module_on_its_floor() -> None:
    package = ROOT / "cake_onnx"
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    folders = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    rows = re.findall(r"^\| \d \| (.*?) \|", ARCHITECTURE, re.MULTILINE)
    named = re.findall(r"`([\w/]+)`", " ".join(rows))
    assert sorted(named) == sorted(modules | folders)


def test_every_dependency_is_accounted_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[^\w-]", entry)[0] for entry in project["dependencies"]}
    table = ARCHITECTURE.partition("## Dependencies")[2].partition("**torchvision")[0]
    told = {
        word for row in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE) for word in re.split(r"[, ]+", row)
    }
    assert names <= told


@pytest.mark.parametrize("name", ["docs/architecture.md", "docs/method.md"])
def test_pages_are_short(name: str) -> None:
    assert len((ROOT / name).read_text("utf-8").splitlines()) <= 130
