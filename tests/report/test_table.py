from __future__ import annotations

from collections.abc import Callable

import pytest

from cake_onnx.report.html import render_html
from cake_onnx.report.model import Accuracy, Report, Rounding
from cake_onnx.report.table import file_size, latency_pairs, milliseconds, ratio, summary_rows

MakeReport = Callable[..., Report]


def test_rows_in_order(make_report: MakeReport) -> None:
    measured = Accuracy(source="test.npz", n=360, teacher=0.991, student=0.984, agreement=0.99)
    rows = summary_rows(make_report(accuracy=measured))
    assert rows == [
        ("File size", "247.1 kB", "61.1 kB", "4.0x smaller"),
        ("Parameters", "61,706", "15,210", "4.1x fewer"),
        ("Latency, batch 1", "0.042 ms", "0.0176 ms", "2.4x faster"),
        ("Latency, batch 64", "0.798 ms", "0.335 ms", "2.4x faster"),
        ("Agreement, held-out samples", "\N{EN DASH}", "97.3%", "95%: 96.5% to 97.9%, n = 2,000"),
        ("Agreement, uniform noise (baseline)", "\N{EN DASH}", "89.5%", "95%: 88.1% to 90.8%, n = 2,000"),
        ("Accuracy, test.npz", "99.1%", "98.4%", "-0.7 points, n = 360"),
    ]


def test_no_accuracy_row_without_labels(make_report: MakeReport) -> None:
    assert not any(label.startswith("Accuracy") for label, *_ in summary_rows(make_report()))


def test_a_quantised_student_stands_beside_its_float_form(make_report: MakeReport) -> None:
    seen = make_report()
    rounding = Rounding(
        calibrated_on=2000, samples="held-out samples", n=1500, agreement=0.9926, bytes=61_000,
        latency=seen.student.latency,
    )  # fmt: skip
    rows = summary_rows(make_report(rounding=rounding))
    at = [label for label, *_ in rows].index("Latency, batch 64") + 1
    assert rows[at] == (
        "Student in float32", "\N{EN DASH}", "61.0 kB, 0.335 ms for 64", "same class on 99.3%, n = 1,500"
    )  # fmt: skip
    untimed = summary_rows(make_report(rounding=rounding.model_copy(update={"latency": ()})))
    assert untimed[at][2] == "61.0 kB"


def test_page_shows_the_same_rows(make_report: MakeReport) -> None:
    report = make_report()
    page = render_html(report, None)
    for row in summary_rows(report):
        for cell in row:
            assert cell in page


def test_latencies_are_compared_only_under_equal_conditions(make_report: MakeReport) -> None:
    base = make_report()
    other = tuple(entry.model_copy(update={"threads": 4}) for entry in base.student.latency)
    report = make_report(student=base.student.model_copy(update={"latency": other}))
    assert latency_pairs(report) == []
    assert not any(label.startswith("Latency") for label, *_ in summary_rows(report))


@pytest.mark.parametrize(
    ("size", "shown"),
    [(812, "812 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_960, "1.0 MB"), (4_200_000_000, "4.2 GB")],
)
def test_file_size(size: int, shown: str) -> None:
    assert file_size(size) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.05123, "0.0512 ms"), (12.34, "12.3 ms"), (1530.4, "1,530 ms")]
)
def test_milliseconds(value: float, shown: str) -> None:
    assert milliseconds(value) == shown


@pytest.mark.parametrize(
    ("teacher", "student", "shown"),
    [(8, 2, "4.0x less"), (2, 3, "1.5x more"), (100, 102, "about the same"), (0, 1, "\N{EN DASH}")],
)
def test_ratio(teacher: float, student: float, shown: str) -> None:
    assert ratio(teacher, student, "less", "more") == shown
