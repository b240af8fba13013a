"""`report.html`: one file, no script, nothing fetched; every name in it is escaped."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cake_onnx.graph.specs import range_text
from cake_onnx.progress import duration
from cake_onnx.report.measures import ClassAgreement
from cake_onnx.report.model import Report
from cake_onnx.report.pictures import Pictures, strips, tiles
from cake_onnx.report.plane import region_maps
from cake_onnx.report.plots import (
    agreement_curve,
    class_curve,
    latency_chart,
    loss_curve,
    margin_histogram,
)
from cake_onnx.report.table import file_size, latency_pairs, milliseconds, ratio, summary_rows
from cake_onnx.report.verdict import headline, percent

NAMED_CLASSES = 20
SHOWN_WIDTHS = 8
"""A table of more rows starts folded up."""


def render_html(report: Report, pictures: Pictures | None) -> str:
    """The page as one self-contained HTML document.

    Args:
        report: What to tell.
        pictures: Arrays behind the pictures; None (two models were only compared) leaves them out.

    Returns:
        Text of the document, the same for equal arguments and versions of matplotlib and jinja2.
    """
    environment = Environment(
        loader=PackageLoader("cake_onnx.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, filesize=file_size, ms=milliseconds, seconds=duration)
    template = environment.get_template("report.html.j2")
    return template.render(report=report, **_figures(report, pictures), **_tables(report))


def class_name(report: Report, index: int) -> str:
    """Name of a class where the teacher tells it, else its number."""
    names = report.output.class_names
    return names[index] if names is not None and index < len(names) else str(index)


def _figures(report: Report, pictures: Pictures | None) -> dict[str, Any]:
    lead = headline(report)
    classes = lead.per_class if lead is not None else ()
    return {
        "loss": loss_curve(report.curves) if report.curves else None,
        "agreement": agreement_curve(report.curves),
        "margins": margin_histogram(report.margins) if report.margins is not None else None,
        "classes": class_curve(classes) if len(classes) > NAMED_CLASSES else None,
        "latency": latency_chart(report),
        "tiles": tiles(pictures) if pictures is not None else [],
        "regions": region_maps(pictures) if pictures is not None else None,
        "series": pictures is not None and pictures.layout == "series",
        "strips": strips(pictures) if pictures is not None and pictures.regions is None else None,
    }


def _tables(report: Report) -> dict[str, Any]:
    lead = headline(report)
    return {
        "rows": summary_rows(report),
        "shown_widths": SHOWN_WIDTHS,
        "lead": lead,
        "worst": _worst(lead.per_class) if lead is not None else [],
        "empty": sum(1 for entry in lead.per_class if entry.n == 0) if lead is not None else 0,
        "pairs": latency_pairs(report),
        "faster": lambda teacher, student: ratio(teacher.median_ms, student.median_ms, "faster", "slower"),
        "name": lambda index: class_name(report, index),
        "bounds": range_text(report.input.low, report.input.high),
    }


def _worst(classes: tuple[ClassAgreement, ...]) -> list[ClassAgreement]:
    """All classes in their order where they are few, else the ones with the least agreement, worst first."""
    if len(classes) <= NAMED_CLASSES:
        return list(classes)
    measured = [entry for entry in classes if entry.agreement is not None]
    return sorted(measured, key=lambda entry: (entry.agreement, entry.class_index))[:NAMED_CLASSES]
