"""A workflow of Olive, run to an honest end: a model that exists and passed, or the cause why not."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olive.common.config_utils import load_config_file
from olive.package_config import OlivePackageConfig
from olive.workflows import run as run_olive
from olive.workflows.run.config import RunConfig

from cake_onnx.errors import UsageError, with_its_kind
from cake_onnx_olive import components
from cake_onnx_olive.causes import Causes, listening, mistaken_files, why_no_model
from cake_onnx_olive.checking import checked
from cake_onnx_olive.distillation import ATTRIBUTE
from cake_onnx_olive.errors import DistillationError, GateError, ending_the_run
from cake_onnx_olive.goals import missed_goals
from cake_onnx_olive.registration import package_config
from cake_onnx_olive.samples import require_usable

if TYPE_CHECKING:
    from olive.engine.output import ModelOutput, WorkflowOutput


@dataclass(frozen=True)
class Outcome:
    """What a workflow left.

    Attributes:
        model: The ONNX file, or whatever the last pass made.
        bytes: Its size.
        metrics: What Olive's evaluators measured on it, by `metric-sub_type`.
        input_metrics: The same of the input model; empty where it was not evaluated.
        distillation: What `CakeDistillation` told in `model_attributes`; None without that pass.
        skipped: Errors that Olive went on after, as in a search of which some points failed.
    """

    model: Path
    bytes: int
    metrics: Mapping[str, float]
    input_metrics: Mapping[str, float]
    distillation: Mapping[str, Any] | None
    skipped: tuple[str, ...] = field(default=())


def run_workflow(
    workflow: str | Path | Mapping[str, Any], passes: str | Path | Mapping[str, Any] | None = None
) -> Outcome:
    """Run a workflow with the passes of Olive and ours.

    Evaluations are made anew unless the workflow says `"clean_evaluation_cache": false`: Olive's cache knows
    them by the model alone, so that a changed evaluator would pass or fail on numbers of another one.

    Args:
        workflow: The workflow, or its JSON or YAML file.
        passes: Another table of passes to add ours to, as for `olive run --package-config`.

    Raises:
        GateError: There is a model, and it misses a goal or `min_agreement`.
        DistillationError: There is no model; the exit code says whose doing that is.
    """
    with ending_the_run():
        config = _read(workflow)
        parsed, table = _parse(config), package_config(passes)
        _check(parsed, OlivePackageConfig.parse_file_or_obj(table))
    with listening() as causes:
        try:
            output = run_olive(_with_fresh_evaluations(config), package_config=table)
        except DistillationError:
            raise
        except Exception as error:  # Olive lets errors of any class through from places of its own
            raise DistillationError(f"the workflow ended with {with_its_kind(error)}") from error
    outcome = _outcome(output, causes)
    missed = list(missed_goals(_judged_by(parsed), outcome.metrics, outcome.input_metrics))
    if missed:
        raise GateError(f"{'; '.join(missed)}. The model is {outcome.model}.")
    return outcome


def _read(workflow: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(workflow, Mapping):
        return copy.deepcopy(dict(workflow))
    try:
        found = load_config_file(workflow)
    except (OSError, ValueError) as error:
        raise UsageError(
            "a workflow of Olive as .json or .yaml", with_its_kind(error), "check the file"
        ) from error
    if not isinstance(found, dict):
        raise UsageError("an object at the top of the workflow", type(found).__name__, "check the file")
    return found


def _parse(config: Mapping[str, Any]) -> RunConfig:
    try:
        return RunConfig.model_validate(copy.deepcopy(config))
    except (AssertionError, AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        found = " ".join(str(error).split())
        raise UsageError(
            "a workflow that Olive accepts", f"{type(error).__name__}: {found}", "mend it"
        ) from error


def _check(parsed: RunConfig, table: OlivePackageConfig) -> None:
    """Find unknown passes, and mistakes in everything of ours, before anything long runs."""
    if not parsed.passes:
        raise UsageError("passes in the workflow", "none", "add one; to evaluate alone is for `olive run`")
    for one in (one for several in parsed.passes.values() for one in several):
        _require_known_pass(one.type, table)
        if one.type == "cakedistillation":
            checked(one.config or {}, searching=bool(parsed.engine.search_strategy))
    for data in parsed.data_configs:
        if data.load_dataset_config.type == components.SAMPLES:
            require_usable(data.load_dataset_config.params)
    for evaluator in (parsed.evaluators or {}).values():
        if evaluator.type == components.EVALUATOR:
            components.AgreementEvaluator.require_usable(evaluator.type_args, evaluator.metrics)


def _require_known_pass(name: str, table: OlivePackageConfig) -> None:
    if name.rpartition(".")[2] not in table.passes:
        near = difflib.get_close_matches(name, table.passes, n=1)
        remedy = f"write `{near[0]}`" if near else "give the table that has it with --package-config"
        raise UsageError("passes of Olive's table or ours", f"`{name}`", remedy)


def _with_fresh_evaluations(config: dict[str, Any]) -> dict[str, Any]:
    engine = config.get("engine") or {}
    for place in (config, engine):
        if isinstance(place.get("cache_config"), dict):
            place["cache_config"].setdefault("clean_evaluation_cache", True)
    if "clean_evaluation_cache" in engine:
        return config
    return {"clean_evaluation_cache": True, **config}


def _outcome(output: WorkflowOutput | None, causes: Causes) -> Outcome:
    if output is None:
        raise DistillationError("Olive gives no account of what it ran; run it here, without docker.")
    mistaken = ", ".join(mistaken_files(output.footprint))
    if mistaken:
        raise DistillationError(
            f"Olive took {mistaken} in the current folder for the output of a pass, which has the same name, "
            "and used it from there on. Rename it, and set clean_cache to true once."
        )
    best = output.get_best_candidate()
    if best is None:
        code = getattr(causes.errors[0], "exit_code", None) if causes.errors else None
        raise DistillationError(f"no output model: {why_no_model(output.footprint, causes)}.", code)
    return Outcome(
        model=_file(best),
        bytes=_file(best).stat().st_size,
        metrics=_values(best.metrics_value),
        input_metrics=_values(output.get_input_model_metrics()),
        distillation=(best.model_config.get("model_attributes") or {}).get(ATTRIBUTE),
        skipped=tuple(map(with_its_kind, causes.errors)),
    )


def _file(best: ModelOutput) -> Path:
    path = Path(best.model_path)
    name = best.model_config.get("onnx_file_name")
    file = path / name if name and path.is_dir() else path
    if not file.exists():
        raise DistillationError(f"no output model: Olive names {file}, which does not exist.")
    return file


def _values(metrics: Mapping[str, Mapping[str, Any]] | None) -> dict[str, float]:
    return {name: float(result["value"]) for name, result in (metrics or {}).items()}


def _judged_by(parsed: RunConfig) -> list[Any]:
    """Metrics of the evaluator that judges the output: that of the last pass, else that of the engine."""
    last = list(parsed.passes.values())[-1:]
    evaluator = (last[0][0].evaluator if last else None) or parsed.engine.evaluator
    return list(evaluator.metrics) if evaluator else []
