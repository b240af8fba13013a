"""Goals of metrics, held to: Olive 0.13 ignores thresholds, and all goals where nothing is searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from olive.evaluator.metric import Metric, SubMetric

#: Sign of the change a goal allows or wants, and whether its value is a percentage of the input model's.
_RELATIVE = {
    "max-degradation": (-1, False),
    "min-improvement": (1, False),
    "percent-max-degradation": (-1, True),
    "percent-min-improvement": (1, True),
}


def missed_goals(
    metrics: list[Metric], measured: Mapping[str, float], before: Mapping[str, float]
) -> Iterator[str]:
    """Every goal that the output model misses, in words.

    Args:
        metrics: Of the evaluator that judged it.
        measured: Value of each metric, by `metric-sub_type`.
        before: The same of the input model; empty where it was not evaluated.
    """
    for metric in metrics:
        for sub_type in metric.sub_types:
            if sub_type.goal is None:
                continue
            key = f"{metric.name}-{sub_type.name}"
            found, bound = measured.get(key), _bound(sub_type, before.get(key))
            if found is None or bound is None:
                yield f"expected {key} to be measured for its goal; found no value"
            elif (found < bound) if sub_type.higher_is_better else (found > bound):
                sign = ">=" if sub_type.higher_is_better else "<="
                yield f"expected {key} {sign} {bound:.6g} ({sub_type.goal.type}); found {found:.6g}"


def _bound(sub_type: SubMetric, before: float | None) -> float | None:
    goal = sub_type.goal
    if goal.type == "threshold":
        return float(goal.value)
    if before is None:
        return None
    sign, percent = _RELATIVE[goal.type]
    change = sign * (1 if sub_type.higher_is_better else -1) * goal.value
    return float(before * (1 + change / 100) if percent else before + change)
