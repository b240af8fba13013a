"""The report as data: everything the page, the card, the table and `report.json` say comes from here.

Every number that is a share lies in 0..1, every time says its unit in its name, and numbers that are
not finite are refused, so a report that exists can be shown.
"""

from __future__ import annotations

import json
from typing import Any, Literal, Self

from pydantic import model_validator

from cake_onnx.report.facts import (
    InputFacts,
    Latency,
    LayerWidths,
    Machine,
    ModelFacts,
    OutputFacts,
    ParityFacts,
    RunFacts,
    Seconds,
    StudentFacts,
)
from cake_onnx.report.measures import (
    Accuracy,
    ClassAgreement,
    CurvePoint,
    Fidelity,
    Gate,
    Margins,
    Rounding,
    wilson_interval,
)
from cake_onnx.report.parts import Part
from cake_onnx.report.verdict import verdict_sentence

__all__ = [
    "SCHEMA_VERSION",
    "Accuracy",
    "ClassAgreement",
    "CurvePoint",
    "Fidelity",
    "Gate",
    "InputFacts",
    "Latency",
    "LayerWidths",
    "Machine",
    "Margins",
    "ModelFacts",
    "OutputFacts",
    "ParityFacts",
    "Report",
    "Rounding",
    "RunFacts",
    "Seconds",
    "StudentFacts",
    "json_schema",
    "to_json",
    "wilson_interval",
]

SCHEMA_VERSION: Literal[1] = 1


class Report(Part):
    """All that is known about one compression, or one comparison of two models."""

    schema_version: Literal[1] = SCHEMA_VERSION
    cake_onnx: str
    """Version of cake-onnx."""
    verdict: str = ""
    """One sentence; left empty it is written by `verdict_sentence`."""
    command: str
    """Command that repeats the run."""
    config: str = ""
    """Text of the `config.toml` written beside the report."""
    teacher: ModelFacts
    student: StudentFacts
    input: InputFacts
    output: OutputFacts
    conversion: ParityFacts | None = None
    """Teacher in torch against teacher in onnxruntime; null when nothing was converted."""
    export: ParityFacts | None = None
    """Student in torch against student in onnxruntime, both in float32; null when nothing was exported."""
    run: RunFacts
    curves: tuple[CurvePoint, ...] = ()
    fidelity: tuple[Fidelity, ...]
    margins: Margins | None = None
    accuracy: Accuracy | None = None
    rounding: Rounding | None = None
    """What quantising the student changed; null where it was not asked for."""
    gates: tuple[Gate, ...] = ()
    assumptions: tuple[str, ...] = ()
    """What was taken for granted, one sentence each."""

    @model_validator(mode="after")
    def _write_verdict(self) -> Self:
        if not self.verdict:
            # The model is frozen for its readers; this is the last step of making it.
            object.__setattr__(self, "verdict", verdict_sentence(self))
        return self

    @property
    def passed(self) -> bool:
        """True when no gate failed."""
        return all(gate.passed for gate in self.gates)


def to_json(report: Report) -> str:
    """The text of `report.json`: fields in the order of the model, two spaces, one final newline."""
    return json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of what `to_json` writes."""
    schema = Report.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
