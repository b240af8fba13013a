"""From the fields of `Config` to flags and environment variables, and back to a `Config`."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from cake_onnx.config import SIZES, Config, flag_of, parse_config, read_toml
from cake_onnx.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

ENVIRONMENT_PREFIX = "CAKE_ONNX_"
#: Options that say the same thing: a flag displaces its rivals in the environment and the file.
_SIZES = ("compression", *SIZES)
_RIVALS = {
    **{name: tuple(other for other in _SIZES if other != name) for name in _SIZES},
    "rounds": ("budget", "max_minutes"), "budget": ("rounds",), "max_minutes": ("rounds",),
    "input_range": ("mean", "std"), "mean": ("input_range",), "std": ("input_range",),
}  # fmt: skip
_METAVARS = {
    "student": "NAME|FILE",
    "compression": "4x", "max_size": "500KB", "max_latency_ratio": "R", "latency_batch": "N",
    "max_operations": "R", "channel_block": "N", "rounds": "N", "max_minutes": "M", "input_range": "LO,HI",
    "mean": "M,…", "std": "S,…", "prior": "NAME", "eval": "DATA.npz", "min_agreement": "P",
    "device": "DEVICE", "seed": "N",
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
    flags, environment = _by_source(given)
    in_file = read_toml(file) if file else {}
    if file:
        parse_config({name: in_file[name] for name in in_file if name not in Config.model_fields}, file.name)
    for layer in (flags, environment):
        _refuse_rivals(layer)
    values: dict[str, Any] = {}
    for layer in (flags, environment, in_file):
        displaced = {*values, *(rival for name in values for rival in _RIVALS.get(name, ()))}
        values |= {name: value for name, value in layer.items() if name not in displaced}
    origins = {name: f"`{name}` in {file.name}" for name in in_file} if file else {}
    origins |= {name: f"`{ENVIRONMENT_PREFIX}{name.upper()}`" for name in environment}
    return _parse(values, {name: origin for name, origin in origins.items() if name not in flags})


def metavar_of(name: str) -> str:
    """What stands behind the flag in the help: the choices, or a word for the value."""
    choices = _choices(Config.model_fields[name].annotation)
    return "|".join(choices) if choices else _METAVARS[name]


def default_of(field: FieldInfo) -> str:
    """The default for the help; empty where an option is unset."""
    value = field.default
    return "" if value is None or value is False else f"{value:g}" if isinstance(value, float) else str(value)


def _by_source(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What came from flags and what from the environment."""
    context = click.get_current_context()
    flags: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    for name, value in given.items():
        if value is not None:
            source = context.get_parameter_source(name)
            (environment if source is click.core.ParameterSource.ENVIRONMENT else flags)[name] = value
    return flags, environment


def _refuse_rivals(layer: dict[str, Any]) -> None:
    both = next(([name, rival] for name in layer for rival in _RIVALS.get(name, ()) if rival in layer), None)
    if both:
        one, other = map(flag_of, both)
        found = f"{one} and {other}, which exclude each other"
        raise UsageError("options that agree", found, "give one of them")


def _parse(values: dict[str, Any], origins: dict[str, str]) -> Config:
    """A `Config`; an error about a value that is no flag names the place it came from."""
    try:
        return parse_config(values)
    except UsageError as error:
        for name, origin in origins.items():
            if f"`{flag_of(name)}`" in error.expected:
                expected = error.expected.replace(f"`{flag_of(name)}`", origin)
                raise UsageError(expected, error.found, error.remedy) from error
        raise


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
