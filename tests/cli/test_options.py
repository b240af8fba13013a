"""One field, four places: flag, environment, file, default; the stronger one wins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import tomli_w

from cake_onnx.cli.options import collect, config_options
from cake_onnx.config import Config, flag_of, to_toml
from cake_onnx.errors import UsageError

#: Field to what is said by flag, environment and file; neighbours differ, and the last from the default.
SAID: dict[str, tuple[Any, Any, Any]] = {
    "student": ("mlp", "cnn", "vit"),
    "student_weights": ("reset", "keep", "reset"),
    "compression": ("8x", "6", 5.0),
    "max_size": ("500KB", "2MiB", 1000),
    "max_latency_ratio": ("50%", "0.4", 0.3),
    "latency_batch": ("1", "8", 2),
    "max_operations": ("0.5", "40%", 0.3),
    "channel_block": ("16", "8", 4),
    "method": ("paper", "rounds", "paper"),
    "budget": ("small", "large", "small"),
    "rounds": ("7", "8", 9),
    "max_minutes": ("1.5", "2", 3.0),
    "langevin": (True, "0", True),
    "input_range": ("-1,1", "0,255", [0.0, 1.0]),
    "mean": ("0.1,0.2", "0.3,0.4", [0.5, 0.6]),
    "std": ("0.1,0.2", "0.3,0.4", [0.5, 0.6]),
    "prior": ("image", "uniform", "gaussian"),
    "eval": ("a.npz", "b.npz", "c.npz"),
    "quantize": ("int8", "none", "int8"),
    "min_agreement": ("97%", "0.9", 0.8),
    "device": ("cpu", "cuda:1", "cuda"),
    "seed": ("1", "2", 3),
}
#: What a field cannot be without.
COMPANIONS = {
    "student_weights": {"student": "small.onnx"},
    "langevin": {"method": "paper"}, "mean": {"std": "1,1"}, "std": {"mean": "0,0"},
}  # fmt: skip


def read(words: list[str], toml: Path | None) -> Config:
    """What a command that has all options understands."""
    found: list[Config] = []

    @click.command()
    @config_options()
    def command(**given: Any) -> None:
        found.append(collect(given, toml))

    command.main(words, standalone_mode=False)
    return found[0]


def words_of(name: str, value: Any) -> list[str]:
    return [flag_of(name)] if value is True else [flag_of(name), str(value)]


def test_every_field_is_tried() -> None:
    assert set(SAID) == set(Config.model_fields)


@pytest.mark.parametrize("name", SAID)
def test_flag_beats_environment_beats_file_beats_default(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag, variable, in_file = SAID[name]
    companions = COMPANIONS.get(name, {})
    more = [word for other, value in companions.items() for word in words_of(other, value)]

    def expected(value: Any) -> Any:
        return getattr(Config.model_validate({**companions, name: value}), name)

    toml = tmp_path / "options.toml"
    toml.write_text(tomli_w.dumps({name: in_file}))
    default = Config.model_fields[name].default
    assert getattr(read([], None), name) == default
    assert getattr(read(more, toml), name) == expected(in_file) != default
    monkeypatch.setenv(f"CAKE_ONNX_{name.upper()}", str(variable))
    assert getattr(read(more, toml), name) == expected(variable) != expected(in_file)
    given = words_of(name, flag) + more
    assert getattr(read(given, toml), name) == expected(flag) != expected(variable)


@pytest.mark.parametrize("name", SAID)
def test_every_option_is_read_by_something(name: str, root: Path) -> None:
    sources = [path.read_text("utf-8") for path in (root / "cake_onnx").rglob("*.py")]
    assert any(re.search(rf"\b(config|self)\.{name}\b", source) for source in sources)


@pytest.mark.parametrize(
    ("words", "in_file", "wanted"),
    [
        (["--max-minutes", "3"], {"rounds": 9}, {"max_minutes": 3.0, "rounds": None}),
        (["--budget", "small"], {"rounds": 9, "budget": "large"}, {"budget": "small", "rounds": None}),
        (["--rounds", "5"], {"max_minutes": 2.0}, {"max_minutes": None, "rounds": 5}),
        (["--input-range", "0,1"], {"mean": 0.5, "std": 0.5}, {"input_range": (0.0, 1.0), "mean": None}),
        (["--mean", "0", "--std", "1"], {"input_range": [0, 1]}, {"input_range": None, "mean": (0.0,)}),
    ],
)
def test_a_flag_displaces_what_says_the_same_in_the_file(
    words: list[str], in_file: dict[str, Any], wanted: dict[str, Any], tmp_path: Path
) -> None:
    toml = tmp_path / "options.toml"
    toml.write_text(tomli_w.dumps(in_file))
    config = read(words, toml)
    assert {name: getattr(config, name) for name in wanted} == wanted


def test_a_flag_displaces_what_says_the_same_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAKE_ONNX_ROUNDS", "5")
    config = read(["--max-minutes", "3"], None)
    assert (config.rounds, config.max_minutes) == (None, 3.0)


def test_a_written_file_gives_its_options_again(tmp_path: Path) -> None:
    config = Config(rounds=3, mean=(0.5,), std=(0.25,), eval=Path("x.npz"), langevin=True, method="paper")
    toml = tmp_path / "config.toml"
    toml.write_text(to_toml(config))
    assert read([], toml) == config


def test_two_that_exclude_each_other_in_one_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAKE_ONNX_ROUNDS", "2")
    monkeypatch.setenv("CAKE_ONNX_MAX_MINUTES", "2")
    with pytest.raises(UsageError, match="--rounds and --max-minutes, which exclude"):
        read([], None)
