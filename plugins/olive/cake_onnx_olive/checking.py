"""Parameters as a user wrote them, checked one by one before Olive sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from olive.passes.pass_config import PassParamDefault
from olive.search.search_parameter import SearchParameter

from cake_onnx.config import Config
from cake_onnx.errors import UsageError
from cake_onnx_olive.names import field_of
from cake_onnx_olive.parameters import (
    MADE_BY,
    SEARCHED_UNASKED,
    made_by,
    parameters,
    require_known,
    to_config,
)


def checked(values: Mapping[str, Any], searching: bool) -> dict[str, Any]:
    """Check and normalise parameters; a list is a search where the parameter can be searched.

    Args:
        values: As in the workflow: plain values, lists to search, Olive's own words for its defaults.
        searching: Whether a search is on.

    Returns:
        The same with `4x` read as 4.0 and so on, and with `made_by`. While searching, parameters other than
        `compression` that nobody mentioned keep their default instead of being searched.

    Raises:
        UsageError: A name is unknown, a value does not fit, or values exclude each other.
    """
    known = parameters()
    require_known(values, known, "CakeDistillation")
    lists = {
        name: value
        for name, value in values.items()
        if searching and known[name].tried and isinstance(value, list) and value
    }
    given = {name: value for name, value in values.items() if value is not None}
    plain = {name: value for name, value in given.items() if name not in lists and not _is_olives(value)}
    config = to_config(plain)
    found = {name: value for name, value in given.items() if _is_olives(value)}
    found |= {name: getattr(config, field_of(name)) for name in plain if name != MADE_BY}
    found |= {name: _each(plain, name, choices) for name, choices in lists.items()}
    found[MADE_BY] = _require_own(values.get(MADE_BY), config)
    if searching:
        unasked = [name for name, parameter in known.items() if parameter.tried and name != SEARCHED_UNASKED]
        found = dict.fromkeys(unasked, PassParamDefault.DEFAULT_VALUE) | found
    return found


def _is_olives(value: Any) -> bool:
    """Whether Olive resolves this value itself."""
    if isinstance(value, dict):
        return value.get("olive_parameter_type") == "SearchParameter"
    return isinstance(value, SearchParameter) or (isinstance(value, str) and value in set(PassParamDefault))


def _each(plain: Mapping[str, Any], name: str, choices: list[Any]) -> list[Any]:
    return [getattr(to_config({**plain, name: choice}), field_of(name)) for choice in choices]


def _require_own(given: Any, config: Config) -> str:
    own = made_by(config)
    if given not in (None, own, made_by()):
        raise UsageError(f"`{MADE_BY}` to be left to the pass", f"`{given}`", "remove it from the workflow")
    return own
