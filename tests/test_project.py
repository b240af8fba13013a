from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cake_onnx"
MODULES = sorted(PACKAGE.rglob("*.py"))
MODULE_IDS = [str(module.relative_to(ROOT)) for module in MODULES]
LONGEST_MODULE = 300
LONGEST_BODY = 40

# Written in pieces, so that this file does not find itself.
MACHINE_PATH = re.compile("|".join(["(?<![\\w./~-])/(" + "work|home|root|tmp|mnt", "Users)/[\\w.]"]))
REGISTRY = re.compile(
    "|".join(["pypi" + r"\.org", "python" + "hosted", "download" + r"\.pytorch", "index" + "-url"])
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def shipped_files() -> list[Path]:
    """Files that git tracks or would track."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def docstring_of(node: ast.AST) -> ast.stmt | None:
    match node:
        case (
            ast.Module(body=[first, *_])
            | ast.FunctionDef(body=[first, *_])
            | ast.AsyncFunctionDef(body=[first, *_])
        ):
            match first:
                case ast.Expr(value=ast.Constant(value=str())):
                    return first
    return None


def body_lines(source: str) -> Iterator[tuple[str, int]]:
    """Name and number of body lines of every function, without docstrings, blank lines and comments."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, Function):
            continue
        docstring = docstring_of(node)
        statements = node.body[1:] if docstring else node.body
        if not statements:
            continue
        body = lines[statements[0].lineno - 1 : statements[-1].end_lineno]
        yield node.name, sum(bool(line.strip()) and not line.strip().startswith("#") for line in body)


def test_floors_hold() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(tool), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_modules() -> None:
    assert len(MODULES) > 10


@pytest.mark.parametrize("module", MODULES, ids=MODULE_IDS)
def test_module_is_documented_and_of_a_size(module: Path) -> None:
    source = module.read_text("utf-8")
    assert docstring_of(ast.parse(source)) is not None, "a module says what it is for"
    assert len(source.splitlines()) <= LONGEST_MODULE
    too_long = {name: count for name, count in body_lines(source) if count > LONGEST_BODY}
    assert not too_long


def test_body_lines_counts_what_it_says() -> None:
    source = """
def f():
    'Words.'

    # why
    a = 1

    return (
        a
    )

def g():
    pass
"""
    assert dict(body_lines(source)) == {"f": 4, "g": 1}


def test_no_file_names_a_machine_or_a_registry() -> None:
    hits = []
    for path in shipped_files():
        # Text and binary alike: exporters leave paths in the doc strings of a model.
        text = path.read_bytes().decode("latin-1")
        found = MACHINE_PATH.search(text) or REGISTRY.search(text)
        if found:
            hits.append(f"{path.relative_to(ROOT)}: {found.group()}")
    assert not hits


@pytest.mark.parametrize("text", ["see /" + "home/someone/x", '"/' + 'tmp/x.onnx"', "/" + "work/main"])
def test_machine_paths_are_recognised(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["DIR/work/samples", "./work/state", "a/home/b", "the work/ folder"])
def test_relative_paths_are_no_machine_paths(text: str) -> None:
    assert not MACHINE_PATH.search(text)


def test_pins_cover_the_declared_packages_and_leave_torchvision_out() -> None:
    def plain(requirement: str) -> str:
        return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-")

    lines = (ROOT / "constraints" / "cpu.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert pins == sorted(pins, key=str.lower)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = {plain(name) for name in [*project["dependencies"], *extras["cpu"], *extras["test"]]}
    pinned = {plain(pin.split("==")[0]) for pin in pins}
    assert declared <= pinned
    assert "torchvision" not in pinned
    assert not [name for name in pinned if name.startswith("nvidia")]
