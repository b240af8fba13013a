from __future__ import annotations

import sys
from importlib import invalidate_caches
from pathlib import Path

import pytest

from cake_onnx.config import Config
from cake_onnx.errors import UsageError
from cake_onnx_olive.names import as_parameters, field_of
from cake_onnx_olive.parameters import MADE_BY, made_by, parameters, to_config


def test_every_option_is_a_parameter_with_the_same_default_and_help() -> None:
    found = parameters()
    assert list(map(field_of, found)) == [*Config.model_fields, MADE_BY]
    for name, parameter in found.items():
        if name != MADE_BY:
            field = Config.model_fields[field_of(name)]
            assert (parameter.type, parameter.default) == (field.annotation, field.default)
            assert parameter.help == as_parameters(field.description or "")


def test_help_names_parameters_not_flags() -> None:
    helps = {name: parameter.help for name, parameter in parameters().items()}
    assert not [name for name, text in helps.items() if "--" in text]
    assert "instead of budget" in helps["rounds"]


def test_the_device_of_torch_is_not_called_like_olives() -> None:
    assert "training_device" in parameters()
    assert "device" not in parameters()


def test_only_parameters_that_trade_something_are_searched() -> None:
    tried = {name: parameter.tried for name, parameter in parameters().items() if parameter.tried}
    assert set(tried) == {"compression", "student", "budget"}
    assert "auto" not in tried["student"]


def test_an_unknown_parameter_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"CakeDistillation; found `compresion`\. Write `compression`"):
        to_config({"compresion": 4})


def test_olives_word_for_the_device_is_not_taken_for_ours() -> None:
    with pytest.raises(UsageError, match="training_device"):
        to_config({"device": "cpu"})


def test_parameters_become_the_options_of_a_run() -> None:
    config = to_config({"training_device": "cpu", "compression": "8x", "rounds": None, MADE_BY: "anything"})
    assert config == Config(device="cpu", compression=8)


@pytest.mark.parametrize(
    ("option", "value", "file"),
    [
        ("eval", "data.npz", "data.npz"),
        ("student", "small.onnx", "small.onnx"),
        ("student", "of_a_user:build", "of_a_user.py"),
        ("prior", "of_a_user:Draw", "of_a_user.py"),
    ],
)
def test_made_by_holds_versions_and_the_content_of_files(
    option: str, value: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *sys.path])
    config = to_config({option: value})
    without = made_by(config)
    assert without == made_by()
    assert "cake-onnx-olive 0." in without
    (tmp_path / file).write_text("one")
    invalidate_caches()
    first = made_by(config)
    (tmp_path / file).write_text("two")
    assert len({without, first, made_by(config)}) == 3
