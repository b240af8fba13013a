"""Help: quick, example first, complete."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from cake_onnx.cli.main import group, main
from tests.cli.conftest import Command

COMMANDS = ("compress", "inspect", "synthesize", "validate")
HEAVY = {"torch", "onnx", "onnxruntime", "onnx2torch", "matplotlib", "numpy", "jinja2", "rich"}


def test_there_are_four_commands() -> None:
    assert tuple(sorted(group.commands)) == COMMANDS


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)])
def test_help_starts_with_an_example_that_the_command_knows(words: tuple[str, ...], cake: Command) -> None:
    answer = cake(*words, "--help")
    assert (answer.code, answer.err) == (0, "")
    first, empty, usage = answer.out.split("\n")[:3]
    assert first.startswith(f"Example: cake-onnx {' '.join(words)}".rstrip())
    assert (empty, usage.split(":")[0]) == ("", "Usage")
    command = group.commands[first.split()[2]]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in first.split()[3:] if word.startswith("-")} <= known


def test_help_names_every_option_with_what_it_does(cake: Command) -> None:
    for name, command in group.commands.items():
        out = cake(name, "--help").out
        for parameter in command.params:
            longest = max(parameter.opts, key=len)
            if longest.startswith("--"):
                assert f"{longest} " in out
                assert getattr(parameter, "help", None)


def test_without_arguments_it_shows_the_help_and_fails(cake: Command) -> None:
    answer = cake()
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("Example: cake-onnx compress")


def test_version(cake: Command) -> None:
    answer = cake("--version")
    assert (answer.code, answer.out) == (0, f"cake-onnx, version {version('cake-onnx')}\n")


@pytest.mark.parametrize(("told", "patience"), [(False, "10000"), (True, "5")])
def test_threads_wait_for_each_other_briefly_unless_told(
    monkeypatch: pytest.MonkeyPatch, told: bool, patience: str
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    if not told:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ["GOMP_SPINCOUNT"] == patience


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    # Processor time is measured by benchmarks/help_time.py; this is what keeps it low.
    code = (
        "import sys\n"
        "from cake_onnx.cli.main import run\n"
        f"for words in [['--help'], ['--version'], *([name, '--help'] for name in {COMMANDS!r})]:\n"
        "    assert run(words) == 0\n"
        "print('loaded', *sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split()[1:])
    assert "click" in loaded
    assert not loaded & HEAVY
