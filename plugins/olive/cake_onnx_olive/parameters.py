"""The parameters of the pass, made from the fields of `cake_onnx.Config`: nothing is typed twice."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from cake_onnx.config import STUDENTS, Config, parse_config
from cake_onnx.errors import UsageError
from cake_onnx.registry import file_of_own
from cake_onnx_olive.names import as_parameters, field_of, parameter_of

#: Set by the pass itself: Olive's cache looks at parameters only, and a result depends on versions too.
MADE_BY = "made_by"
_MADE_BY_HELP = (
    "Set by the pass: versions, and the content of eval, of a student's file and of modules of yours, so "
    "that Olive's cache knows them."
)

_TRIED: Mapping[str, tuple[Any, ...]] = {
    "compression": (2.0, 4.0, 8.0),
    "student": tuple(name for name in STUDENTS if name != "auto"),
}
_CHOICES_TRIED = ("budget",)
#: Of what can be searched, only this is when nobody asks: the others multiply long runs.
SEARCHED_UNASKED = "compression"


@dataclass(frozen=True)
class Parameter:
    """One parameter of the pass.

    Attributes:
        name: In a workflow.
        type: As annotated in `cake_onnx.Config`.
        default: Value where nobody says otherwise.
        help: One sentence.
        tried: Values that a search tries; empty where there is nothing to search.
        is_file: Whether it names a file.
    """

    name: str
    type: Any
    default: Any
    help: str
    tried: tuple[Any, ...] = ()
    is_file: bool = False


def parameters() -> dict[str, Parameter]:
    """Every parameter by its name; the last is `made_by`."""
    found = [
        Parameter(
            name=parameter_of(name),
            type=field.annotation,
            default=field.default,
            help=as_parameters(field.description or ""),
            tried=_tried(name, field.annotation),
            is_file=Path in (field.annotation, *get_args(field.annotation)),
        )
        for name, field in Config.model_fields.items()
    ]
    found.append(Parameter(MADE_BY, str, made_by(), _MADE_BY_HELP))
    return {parameter.name: parameter for parameter in found}


def made_by(config: Config | None = None) -> str:
    """What a result depends on beside the parameters: our versions, and what is in the user's files."""
    parts = [f"{name} {version(name)}" for name in ("cake-onnx", "cake-onnx-olive")]
    for name, path in _files(config or Config()).items():
        if path is not None and path.is_file():
            parts.append(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}")
    return ", ".join(parts)


def _files(config: Config) -> dict[str, Path | None]:
    return {
        "eval": config.eval,
        "student": file_of_own(config.own_student) if config.own_student else config.student_file,
        "prior": file_of_own(config.own_prior) if config.own_prior else None,
    }


def to_config(
    values: Mapping[str, Any], known: Collection[str] | None = None, owner: str = "CakeDistillation"
) -> Config:
    """The options of one run from parameters; None means unset.

    Args:
        values: Name to value.
        known: Names that mean something here; those of the pass if None.
        owner: What takes them, for people.

    Raises:
        UsageError: A name is unknown (the nearest known one is named), or a value does not fit.
    """
    require_known(values, parameters() if known is None else known, owner)
    said = {field_of(name): value for name, value in values.items() if name != MADE_BY and value is not None}
    return parse_config(said, f"the parameters of {owner}")


def require_known(values: Iterable[str], known: Collection[str], owner: str) -> None:
    """Refuse unknown names, which Olive would only warn of.

    Raises:
        UsageError: A name is unknown; the nearest known one is named.
    """
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                f"known parameters of {owner}",
                f"`{name}`",
                f"write `{near[0]}`" if near else f"use one of {', '.join(known)}",
            )


def _tried(name: str, annotation: Any) -> tuple[Any, ...]:
    if name in _CHOICES_TRIED and get_origin(annotation) is Literal:
        return get_args(annotation)
    return _TRIED.get(name, ())
