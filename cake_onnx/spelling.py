"""Values as people write them: `4x`, `0,1`, `500KB`, `97%`; what is written otherwise is left to pydantic."""

from __future__ import annotations

import re


def factor(value: object) -> object:
    """Read `4x` or `4` as 4.0."""
    return value.strip().lower().removesuffix("x") if isinstance(value, str) else value


def numbers(value: object) -> object:
    """Read `0.1,0.2` as a tuple."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(","))
    return (value,) if isinstance(value, (int, float)) else value


_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def byte_count(value: object) -> object:
    """Read `500KB` as 500,000 and `2MiB` as 2,097,152."""
    found = re.fullmatch(r"\s*([\d.]+)\s*([a-z]*)\s*", value.lower()) if isinstance(value, str) else None
    if found and found[2] in {"", *_UNITS}:
        try:
            return int(float(found[1]) * _UNITS.get(found[2], 1))
        except ValueError:  # such as 1.2.3
            return value
    return value


def share(value: object) -> object:
    """Read `97%` as 0.97."""
    if isinstance(value, str) and re.fullmatch(r"\s*[\d.]+\s*%\s*", value):
        return float(value.strip().removesuffix("%")) / 100
    return value
