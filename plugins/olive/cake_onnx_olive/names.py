"""What the options of cake-onnx are called in a workflow of Olive."""

from __future__ import annotations

import re

from cake_onnx.config import Config, flag_of

#: In Olive, `device` is where a model will run; this one says where torch works meanwhile.
RENAMED = {"device": "training_device"}


def parameter_of(field: str) -> str:
    """The parameter for a field of `cake_onnx.Config`."""
    return RENAMED.get(field, field)


def field_of(parameter: str) -> str:
    """The field of `cake_onnx.Config` for a parameter."""
    return {new: old for old, new in RENAMED.items()}.get(parameter, parameter)


def as_parameters(text: str) -> str:
    """A text of cake-onnx with parameters where it names flags: `--max-minutes` becomes `max_minutes`."""
    flags = {flag_of(field): parameter_of(field) for field in Config.model_fields}
    return re.sub(r"--[a-z][a-z-]*", lambda match: flags.get(match.group(), match.group()), text)
