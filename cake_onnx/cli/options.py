"""From the fields of `Config` to flags and environment variables, and back to a `Config`."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from cake_onnx.config import Config, flag_of, parse_config, read_toml

Command = TypeVar("Command", bound=Callable[..., Any])

ENVIRONMENT_PREFIX = "CAKE_ONNX_"
_METAVARS = {
    "compression": "4x", "rounds": "N", "max_minutes": "M", "input_range": "LO,HI", "mean": "M,…", "std": "S,…",
    "eval": "DATA.npz", "min_agreement": "P", "device": "DEVICE", "seed": "N",
}  # fmt: skip


def config_options(*names: str) -> Callable[[Command], Command]:
    """Add the flags of these fields to a command, all fields if none is named."""

    def decorate(command: Command) -> Command:
        for name in reversed(names or tuple(Config.model_fields)):
            command = _option(name, Config.model_fields[name])(command)
        return command

    return decorate


def collect(given: dict[str, Any], file: Path | None) -> Config:
    """A `Config` from flags and environment (`given`, None where absent) over the file over the defaults.

    Raises:
        UsageError: Something in them does not fit.
    """
    values = read_toml(file) if file else {}
    parse_config(values, file.name if file else "the configuration")
    return parse_config(values | {name: value for name, value in given.items() if value is not None})


def metavar_of(name: str) -> str:
    """What stands behind the flag in the help: the choices, or a word for the value."""
    choices = _choices(Config.model_fields[name].annotation)
    return "|".join(choices) if choices else _METAVARS[name]


def default_of(field: FieldInfo) -> str:
    """The default for the help; empty where an option is unset."""
    value = field.default
    return "" if value is None or value is False else f"{value:g}" if isinstance(value, float) else str(value)


def _option(name: str, field: FieldInfo) -> Callable[[Command], Command]:
    default = default_of(field)
    # Values stay text: pydantic reads them, so that flags, environment and file are judged by one rule.
    return click.option(
        flag_of(name),
        name,
        default=None,
        envvar=ENVIRONMENT_PREFIX + name.upper(),
        help=(field.description or "") + (f" [default: {default}]" if default else ""),
        **({"is_flag": True} if field.annotation is bool else {"metavar": metavar_of(name), "type": str}),
    )


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) is types.UnionType:
        return tuple(choice for part in get_args(annotation) for choice in _choices(part))
    return ()
