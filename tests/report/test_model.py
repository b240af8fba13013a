from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cake_onnx.report.model import Accuracy, Report, StudentFacts, to_json, wilson_interval
from cake_onnx.report.schema import schema_text

MakeReport = Callable[..., Report]


def test_published_schema_is_the_one_of_the_model(root: Path) -> None:
    published = (root / "docs" / "report.schema.json").read_text()
    assert published == schema_text(), "stale: python -m cake_onnx.report.schema > docs/report.schema.json"


def test_report_json_obeys_the_published_schema(root: Path, make_report: MakeReport) -> None:
    schema = json.loads((root / "docs" / "report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    full = make_report(accuracy=Accuracy(source="test.npz", n=10, teacher=1.0, student=0.9, agreement=0.9))
    other = full.student.model_copy(update={"family": "cnn", "widths": None})
    bare = make_report(margins=None, curves=(), gates=(), conversion=None, export=None, student=other)
    for report in (full, bare):
        jsonschema.validate(json.loads(to_json(report)), schema)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("student", "bytes"), 0),
        (("fidelity", 0, "agreement"), 1.2),
        (("student", "widths", 0, "student"), 0),
        (("student", "widths", 0, "layers"), []),
        (("surprise",), 1),
    ],
)
def test_published_schema_refuses_what_is_not_a_report(
    root: Path, make_report: MakeReport, path: tuple[str | int, ...], value: object
) -> None:
    document = json.loads(to_json(make_report()))
    target = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json.loads((root / "docs" / "report.schema.json").read_text()))


def test_json_reads_back_to_the_same_report(make_report: MakeReport) -> None:
    report = make_report()
    again = Report.model_validate_json(to_json(report))
    assert again == report
    assert to_json(again) == to_json(report)


def test_a_report_written_before_widths_were_told_still_reads(make_report: MakeReport) -> None:
    document = json.loads(to_json(make_report()))
    assert document["student"].pop("widths")[1] == {
        "layers": ["conv2", "shortcut"], "teacher": 16, "student": 12,
    }  # fmt: skip
    assert Report.model_validate_json(json.dumps(document)).student.widths is None


def test_report_cannot_be_changed(make_report: MakeReport) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(make_report(), "verdict", "perfect")  # noqa: B010 the type checker knows it too


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(make_report: MakeReport, number: float) -> None:
    point = make_report().curves[0].model_dump() | {"loss": number}
    with pytest.raises(ValidationError, match="finite"):
        make_report(curves=(point,))


def test_a_folder_in_a_file_name_is_refused(make_report: MakeReport) -> None:
    with pytest.raises(ValidationError, match="file"):
        StudentFacts(**make_report().student.model_dump() | {"file": "home/someone/model.onnx"})


@pytest.mark.parametrize("change", [{"edges": (0.0, 1.0)}, {"edges": tuple(float(-i) for i in range(41))}])
def test_histogram_must_fit_its_edges(make_report: MakeReport, change: dict[str, object]) -> None:
    margins = make_report().margins
    assert margins is not None
    with pytest.raises(ValidationError, match="edges"):
        make_report(margins=margins.model_dump() | change)


def test_wilson_interval_has_the_published_values() -> None:
    # Newcombe, 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    for agreed, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson_interval(agreed, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_encloses_the_share(trial: tuple[int, int]) -> None:
    agreed, n = trial
    low, high = wilson_interval(agreed, n)
    assert 0 <= low <= agreed / n <= high <= 1
    mirrored = wilson_interval(n - agreed, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(("agreed", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_interval_refuses_impossible_counts(agreed: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"agreed={agreed}"):
        wilson_interval(agreed, n)
