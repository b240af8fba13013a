from __future__ import annotations

import base64
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable

import matplotlib
import pytest

from cake_onnx.report.figures import Image, drawing, to_image
from cake_onnx.report.model import ClassAgreement, CurvePoint, Report
from cake_onnx.report.plots import (
    agreement_curve,
    class_curve,
    latency_chart,
    loss_curve,
    margin_histogram,
    short_number,
)

MakeReport = Callable[..., Report]


def svg(image: Image | None) -> str:
    assert image is not None
    kind, _, data = image.uri.partition(",")
    assert kind == "data:image/svg+xml;base64"
    text = base64.b64decode(data).decode()
    ET.fromstring(text)  # raises where the text is not well formed
    return text


def test_every_chart_is_drawn_and_repeats_to_the_byte(make_report: MakeReport) -> None:
    report = make_report(classes=50)
    assert report.margins is not None
    margins, classes = report.margins, report.fidelity[0].per_class
    charts: list[Callable[[], Image | None]] = [
        lambda: loss_curve(report.curves),
        lambda: agreement_curve(report.curves),
        lambda: margin_histogram(margins),
        lambda: class_curve(classes),
        lambda: latency_chart(report),
    ]
    drawn = [svg(chart()) for chart in charts]
    assert drawn == [svg(chart()) for chart in charts]
    assert len(set(drawn)) == len(charts)


def test_charts_follow_light_and_dark_and_leave_no_placeholder(make_report: MakeReport) -> None:
    text = svg(latency_chart(make_report()))
    assert "prefers-color-scheme: dark" in text
    for name in ("ink", "faint", "teacher", "student"):
        assert f"var(--{name})" in text
    assert "#0102" not in text


def test_svg_names_no_document_type_and_no_date(make_report: MakeReport) -> None:
    text = svg(loss_curve(make_report().curves))
    assert text.startswith("<svg")
    assert "DOCTYPE" not in text
    assert "<dc:date>" not in text


def test_text_in_a_figure_cannot_become_markup() -> None:
    with drawing(2, 2) as figure:
        figure.suptitle("<script>alert('$x$')</script> & $\\frac$")
        text = svg(to_image(figure, "a title"))
    assert "<script" not in text


def test_drawing_leaves_the_settings_of_the_caller_alone() -> None:
    before = dict(matplotlib.rcParams)
    with drawing(2, 2) as figure:
        to_image(figure, "nothing")
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_loaded() -> None:
    code = "import sys, cake_onnx.report.html; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_was_not_measured_is_not_drawn(make_report: MakeReport) -> None:
    report = make_report()
    assert agreement_curve([point.model_copy(update={"agreement": None}) for point in report.curves]) is None
    assert class_curve([ClassAgreement(class_index=0, n=0, agreement=None)]) is None
    one = report.teacher.model_copy(update={"latency": report.teacher.latency[:1]})
    assert latency_chart(make_report(teacher=one)) is None


@pytest.mark.parametrize("losses", [[0.5], [0.0, 0.0], [-1.0, 2.0], [1000.0, 0.001], [1.0] * 400])
def test_curves_of_any_length_and_range(losses: list[float]) -> None:
    points = [CurvePoint(round=i, passes=10.0 * i, loss=loss, agreement=1.0) for i, loss in enumerate(losses)]
    svg(loss_curve(points))
    svg(agreement_curve(points))


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (950, "950"), (1500, "1.5k"), (2e6, "2M"), (6.55e7, "65.5M")]
)
def test_short_number(value: float, shown: str) -> None:
    assert short_number(value) == shown
