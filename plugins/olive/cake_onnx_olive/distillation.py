"""The pass: an ONNX classifier in, a smaller one that behaves like it out."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from olive.hardware import AcceleratorSpec, Device
from olive.model import ONNXModelHandler
from olive.model.handler.base import OliveModelHandler
from olive.passes import Pass
from olive.passes.olive_pass import ParamCategory
from olive.passes.pass_config import BasePassConfig, PassConfigParam
from olive.search.search_parameter import Categorical, SearchParameter
from onnxruntime import get_available_providers

from cake_onnx.errors import UsageError
from cake_onnx.judge import CPU
from cake_onnx.pipeline import Result, compress
from cake_onnx.report.verdict import headline
from cake_onnx.workspace.writing import write_atomically
from cake_onnx_olive.checking import checked
from cake_onnx_olive.errors import GateError, ending_the_run
from cake_onnx_olive.log import LogProgress, in_olives_log, logger
from cake_onnx_olive.parameters import Parameter, parameters, to_config

#: What tells about the model, and travels with it. The model and the options have their own places in Olive.
TRAVELLING = ("report.json", "report.html", "MODEL_CARD.md")
#: Our key in `model_attributes`.
ATTRIBUTE = "cake_onnx"


class CakeDistillation(Pass):
    """Data-free distillation by cake-onnx.

    Olive's accelerator is where the model will run: latency is judged there, if this machine has its
    execution provider. Where torch works meanwhile is the parameter `training_device`.
    """

    # A composite model is no classifier; refused whole, or Olive would distil its parts one by one.
    _accepts_composite_model = True

    @staticmethod
    def is_accelerator_agnostic(accelerator_spec: AcceleratorSpec) -> bool:
        """False: the report that travels with the model holds latencies of one accelerator."""
        return False

    @classmethod
    def get_config_params(
        cls,
        accelerator_spec: AcceleratorSpec,
        config: dict[str, Any] | None = None,
        disable_search: bool | None = False,
    ) -> tuple[type[BasePassConfig], dict[str, Any], dict[str, SearchParameter]]:
        """As in Olive, after a check of every parameter.

        Raises:
            DistillationError: A parameter is unknown, or a value does not fit.
        """
        with ending_the_run():
            found = checked(config or {}, searching=not disable_search)
        return super().get_config_params(accelerator_spec, found, disable_search)  # type: ignore[no-any-return]

    @classmethod
    def _default_config(cls, accelerator_spec: AcceleratorSpec) -> dict[str, PassConfigParam]:
        return {name: _as_olives(parameter) for name, parameter in parameters().items()}

    def _run_for_config(
        self, model: OliveModelHandler, config: BasePassConfig, output_model_path: str
    ) -> ONNXModelHandler:
        with ending_the_run(), in_olives_log():
            path = _require_onnx(model)
            options = to_config(config.model_dump())
            provider = latency_provider(self.accelerator_spec)
            result = compress(path, options, LogProgress("CakeDistillation"), latency_provider=provider)
            folder = Path(output_model_path)
            written = _write(result, folder)
            logger.info("CakeDistillation: %s", result.report.verdict)
            _require_passed(result, written["report.html"])
        # Olive itself brings the additional files of the input along.
        ours = {ATTRIBUTE: facts(result), "additional_files": [str(written[name]) for name in TRAVELLING]}
        attributes = {**(model.model_attributes or {}), **ours}
        return ONNXModelHandler(
            folder, onnx_file_name=written["model.onnx"].name, model_attributes=attributes
        )


def latency_provider(accelerator: AcceleratorSpec) -> str | None:
    """The execution provider to time on: that of the accelerator, or None if this machine lacks it."""
    provider = accelerator.execution_provider
    if provider is None and str(accelerator.accelerator_type).lower() == Device.CPU:
        return CPU
    if provider in get_available_providers():
        return str(provider)
    missing = provider or f"provider for {accelerator.accelerator_type}"
    logger.warning("CakeDistillation: latency is not measured, onnxruntime here has no %s", missing)
    return None


def facts(result: Result) -> dict[str, Any]:
    """What `model_attributes` tell of a distillation, as plain JSON."""
    report, lead = result.report, headline(result.report)
    return {
        "version": report.cake_onnx,
        "verdict": report.verdict,
        "agreement": lead.model_dump(include={"samples", "n", "agreement", "low", "high"}) if lead else None,
        "parameters": {"teacher": report.teacher.parameters, "student": report.student.parameters},
        "bytes": {"teacher": report.teacher.bytes, "student": report.student.bytes},
        "teacher_sha256": report.teacher.sha256,
    }


def _as_olives(parameter: Parameter) -> PassConfigParam:
    return PassConfigParam(
        type_=parameter.type,
        default_value=parameter.default,
        description=parameter.help,
        category=ParamCategory.PATH if parameter.is_file else ParamCategory.NONE,
        search_defaults=Categorical(list(parameter.tried)) if parameter.tried else None,
    )


def _require_onnx(model: OliveModelHandler) -> str:
    if not isinstance(model, ONNXModelHandler):
        raise UsageError(
            "one ONNX model for CakeDistillation",
            type(model).__name__,
            "put a pass before it that makes one, such as OnnxConversion",
        )
    return str(model.model_path)


def _write(result: Result, folder: Path) -> dict[str, Path]:
    """Write the model and what travels with it under names that hold the model's hash; where each file is.

    The model too: Olive takes a file name for a path where the current folder has a file of that name, so
    that later passes would be given a teacher called `model.onnx` instead of the student.
    """
    files = result.files()
    mark = hashlib.sha256(result.model).hexdigest()[:12]
    written = {name: folder / f"cake-onnx-{mark}-{name}" for name in ("model.onnx", *TRAVELLING)}
    for name, path in written.items():
        write_atomically(path, files[name])
    return written


def _require_passed(result: Result, page: Path) -> None:
    failed = [gate for gate in result.report.gates if not gate.passed]
    if failed:
        told = ", ".join(f"{gate.name} {gate.wanted}; found {gate.got}" for gate in failed)
        raise GateError(f"expected {told}. Lower min_agreement or spend more rounds; the report is {page}.")
