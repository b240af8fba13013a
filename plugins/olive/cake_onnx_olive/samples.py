"""Synthetic samples as a dataset of Olive: for calibration where there is no data."""

from __future__ import annotations

from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import torch
from olive.data.component.dataset import BaseDataset
from olive.data.registry import Registry

from cake_onnx.config import Config
from cake_onnx.errors import UsageError
from cake_onnx.graph.load import load_model
from cake_onnx.graph.reference import open_reference
from cake_onnx.graph.runtime import as_declared
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.specs import InputSpec
from cake_onnx.synthesis import synthesize
from cake_onnx_olive.errors import ending_the_run
from cake_onnx_olive.log import LogProgress, in_olives_log
from cake_onnx_olive.names import parameter_of
from cake_onnx_olive.parameters import MADE_BY, made_by, parameters, require_known, to_config

NAME = "cake_samples"
#: Parameters beside `teacher` and `samples`.
OPTIONS = tuple(parameter_of(field) for field in ("input_range", "mean", "std", "prior", "device", "seed"))
_COUNT = 256


def cake_samples(**given: Any) -> BaseDataset:
    """Samples from the decision boundary of a teacher, labelled by it; needs no data.

    Args:
        given: `teacher`, the path of an ONNX file; `samples`, how many; `OPTIONS`, as in the pass.

    Returns:
        Pairs of `{input name: tensor (*shape)}`, in the element type that the teacher declares, and a class.

    Raises:
        DistillationError: A parameter is unknown, a value does not fit, or the teacher cannot be used.
    """
    with ending_the_run(), in_olives_log():
        path, count, config = require_usable(given)
        spec = _input_of(path, config)
        drawn = synthesize(path, count, config, LogProgress(NAME))
    x = torch.from_numpy(as_declared(drawn.x.numpy(), spec))
    pairs = [({spec.name: one}, int(label)) for one, label in zip(x, drawn.logits.argmax(1), strict=True)]
    return BaseDataset(pairs)


def require_usable(given: dict[str, Any]) -> tuple[Path, int, Config]:
    """Teacher, count and options from parameters.

    Raises:
        UsageError: A parameter is unknown, or a value does not fit.
    """
    require_known(given, ("teacher", "samples", *OPTIONS, MADE_BY), NAME)
    teacher, count = given.get("teacher"), given.get("samples", _COUNT)
    if not isinstance(teacher, str | Path):
        raise UsageError(f"`teacher` in the params of {NAME}", repr(teacher), "give the path of an ONNX file")
    if not isinstance(count, int) or count < 1:
        raise UsageError(f"`samples` of {NAME} to be a whole number from 1", repr(count), "change it")
    return Path(teacher), count, to_config({name: given.get(name) for name in OPTIONS}, OPTIONS, NAME)


def _input_of(path: Path, config: Config) -> InputSpec:
    model = open_reference(load_model(path)).model
    return read_signature(model, input_range=config.input_range, mean=config.mean, std=config.std)[0]


def _signature() -> Signature:
    """What Olive reads to fill in defaults, which thereby become part of its cache's key: versions too."""
    known = parameters()
    defaults = {"teacher": None, "samples": _COUNT, **{name: known[name].default for name in OPTIONS}}
    defaults[MADE_BY] = made_by()
    return Signature(
        [Parameter(name, Parameter.KEYWORD_ONLY, default=value) for name, value in defaults.items()]
    )


cake_samples.__signature__ = _signature()  # type: ignore[attr-defined]  # functions take it, mypy does not know
Registry.register_dataset(NAME)(cake_samples)
