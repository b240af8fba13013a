"""How alike a model and its teacher are, as an evaluator of Olive: in a search, and as a goal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from olive.evaluator.metric import AccuracySubType, Metric, MetricType
from olive.evaluator.metric_result import MetricResult, SubMetricResult, joint_metric_key
from olive.evaluator.olive_evaluator import OnnxEvaluator
from olive.evaluator.registry import Registry
from olive.hardware import Device
from olive.model.handler.base import OliveModelHandler

from cake_onnx.errors import UsageError
from cake_onnx.report.model import Report
from cake_onnx.report.verdict import headline
from cake_onnx.validation import validate
from cake_onnx_olive.errors import ending_the_run
from cake_onnx_olive.log import LogProgress, in_olives_log, logger
from cake_onnx_olive.names import parameter_of
from cake_onnx_olive.parameters import to_config

NAME = "CakeAgreement"
#: The metric that is ours, and the only sub-type it can have.
METRIC, SUB_TYPE = "agreement", AccuracySubType.ACCURACY_SCORE
#: Parameters beside `teacher`.
OPTIONS = tuple(
    parameter_of(field) for field in ("eval", "input_range", "mean", "std", "prior", "device", "seed")
)


@Registry.register(NAME)
class AgreementEvaluator(OnnxEvaluator):
    """Agreement with a teacher, on the user's data or else on held-out synthetic samples.

    The metric is called `agreement`, has the type `accuracy` with the sub-type `accuracy_score`, and names no
    data: the model is judged by the teacher's answers. (Metrics of the type `custom` cannot be serialised in
    Olive 0.13.) All other metrics are Olive's, measured as by its `OnnxEvaluator`.

    Args:
        teacher: The ONNX file that counts as right.
        options: Those of `OPTIONS`, as in the pass.

    Raises:
        DistillationError: A parameter is unknown, or a value does not fit.
    """

    def __init__(self, teacher: str | None = None, **options: Any) -> None:
        super().__init__()
        with ending_the_run():
            if teacher is None:
                raise UsageError(f"`teacher` in {NAME}", "none", "give the path of an ONNX file")
            self._teacher = Path(teacher)
            self._config = to_config(options, OPTIONS, NAME)

    @classmethod
    def require_usable(cls, arguments: dict[str, Any], metrics: list[Metric]) -> None:
        """Check arguments and metrics without measuring anything.

        Raises:
            DistillationError: A parameter is unknown, a value does not fit, or a metric is written wrongly.
        """
        cls(**arguments)
        with ending_the_run():
            for metric in metrics:
                is_ours(metric)

    def evaluate(
        self,
        model: OliveModelHandler,
        metrics: list[Metric],
        device: Device = Device.CPU,
        execution_providers: str | list[str] | None = None,
    ) -> MetricResult:
        """Measure everything asked for; agreement always in onnxruntime on the CPU.

        Raises:
            DistillationError: A metric is written wrongly, or the models cannot be compared.
        """
        with ending_the_run(), in_olives_log():
            ours = [metric for metric in metrics if is_ours(metric)]
            found = [_measure(metric, self._compare(model)) for metric in ours]
        theirs = [metric for metric in metrics if metric not in ours]
        rest = super().evaluate(model, theirs, device, execution_providers).root
        return MetricResult(dict(found) | rest)

    def _compare(self, model: OliveModelHandler) -> Report:
        report = validate(self._teacher, Path(model.model_path), self._config, LogProgress(NAME), None)
        logger.info("%s: %s", NAME, report.verdict)
        return report


def is_ours(metric: Metric) -> bool:
    """Whether a metric asks for agreement: one of accuracy without data to measure it on.

    Raises:
        UsageError: It does, under a name or with a sub-type that says something else.
    """
    if metric.type != MetricType.ACCURACY or metric.data_config is not None:
        return False
    wanted = [sub_type.name for sub_type in metric.sub_types]
    if metric.name != METRIC or wanted != [SUB_TYPE]:
        raise UsageError(
            f"a metric of accuracy without data to be called `{METRIC}` and have the sub-type `{SUB_TYPE}`",
            f"`{metric.name}` with {', '.join(wanted) or 'none'}",
            "rename it, or give it a data_config with labels",
        )
    return True


def _measure(metric: Metric, report: Report) -> tuple[str, SubMetricResult]:
    lead, wanted = headline(report), metric.sub_types[0]
    if lead is None:
        raise UsageError("samples to compare on", "none", f"give `eval` of {NAME} an .npz file with x")
    result = SubMetricResult(
        value=lead.agreement, priority=wanted.priority, higher_is_better=wanted.higher_is_better
    )
    return joint_metric_key(metric.name, wanted.name), result
