"""The before and after rows, the same on the page, in the card and in the terminal."""

from __future__ import annotations

from cake_onnx.report.facts import Latency
from cake_onnx.report.measures import Fidelity
from cake_onnx.report.model import Report
from cake_onnx.report.verdict import headline, percent

Row = tuple[str, str, str, str]
_NOTHING = "\N{EN DASH}"
_BATCHES = (1, 64)


def summary_rows(report: Report) -> list[Row]:
    """What changed, row by row.

    Returns:
        `(label, teacher, student, ratio or remark)`: file size, parameters, latency of batch 1 and 64 (the
        first provider and thread count both have), the student before it was quantised, agreement (leading
        and held-out samples, then the baseline), and accuracy where the user gave labelled data. All are
        plain text, not escaped.
    """
    return [
        *size_rows(report),
        *_latency_rows(report),
        *_rounding_rows(report),
        *(_fidelity_row(fidelity) for fidelity in _shown(report)),
        *_accuracy_rows(report),
    ]


def size_rows(report: Report) -> list[Row]:
    """File size and parameters; the rows that hold no measured time."""
    teacher, student = report.teacher, report.student
    return [
        (
            "File size",
            file_size(teacher.bytes),
            file_size(student.bytes),
            ratio(teacher.bytes, student.bytes, "smaller", "larger"),
        ),
        (
            "Parameters",
            f"{teacher.parameters:,}",
            f"{student.parameters:,}",
            ratio(teacher.parameters, student.parameters, "fewer", "more"),
        ),
    ]


def latency_pairs(report: Report) -> list[tuple[Latency, Latency]]:
    """Latencies of both with equal provider, threads and batch size, in the teacher's order."""
    student = {(entry.provider, entry.threads, entry.batch): entry for entry in report.student.latency}
    keys = [((entry.provider, entry.threads, entry.batch), entry) for entry in report.teacher.latency]
    return [(entry, student[key]) for key, entry in keys if key in student]


def file_size(size: int) -> str:
    """Bytes for people, in steps of 1000: `812 B`, `61.9 kB`, `4.2 MB`."""
    if size < 1000:
        return f"{size} B"
    for scale, unit in ((1e3, "kB"), (1e6, "MB")):
        if size / scale < 999.95:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e9:,.1f} GB"


def milliseconds(value: float) -> str:
    """Milliseconds with three significant digits: `0.0512 ms`, `12.3 ms`, `1,530 ms`."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def ratio(teacher: float, student: float, less: str, more: str) -> str:
    """`4.0x smaller`, `1.3x larger`, or `about the same` within 5%; a dash where either is 0."""
    if teacher <= 0 or student <= 0:
        return _NOTHING
    factor = teacher / student
    if 1 / 1.05 < factor < 1.05:
        return "about the same"
    return f"{factor:.1f}x {less}" if factor > 1 else f"{1 / factor:.1f}x {more}"


def _latency_rows(report: Report) -> list[Row]:
    rows: list[Row] = []
    pairs = latency_pairs(report)
    for batch in _BATCHES:
        pair = next((pair for pair in pairs if pair[0].batch == batch), None)
        if pair is not None:
            before, after = pair[0].median_ms, pair[1].median_ms
            remark = ratio(before, after, "faster", "slower")
            rows.append((f"Latency, batch {batch}", milliseconds(before), milliseconds(after), remark))
    return rows


def _rounding_rows(report: Report) -> list[Row]:
    """The student before it was quantised."""
    found = report.rounding
    if found is None:
        return []
    timed = [entry for entry in found.latency if entry.batch == _BATCHES[-1]]
    times = [f", {milliseconds(entry.median_ms)} for {entry.batch}" for entry in timed]
    size = file_size(found.bytes) + "".join(times)
    remark = f"same class on {percent(found.agreement)}, n = {found.n:,}"
    return [("Student in float32", _NOTHING, size, remark)]


def _shown(report: Report) -> list[Fidelity]:
    lead = headline(report)
    leading = [entry for entry in report.fidelity if entry is lead or entry.role in ("user", "held-out")]
    return leading + [entry for entry in report.fidelity if entry.role == "baseline"]


def _fidelity_row(fidelity: Fidelity) -> Row:
    interval = f"95%: {percent(fidelity.low)} to {percent(fidelity.high)}, n = {fidelity.n:,}"
    baseline = " (baseline)" if fidelity.role == "baseline" else ""
    return f"Agreement, {fidelity.samples}{baseline}", _NOTHING, percent(fidelity.agreement), interval


def _accuracy_rows(report: Report) -> list[Row]:
    measured = report.accuracy
    if measured is None:
        return []
    points = 100 * (measured.student - measured.teacher)
    remark = f"{points:+.1f} points, n = {measured.n:,}"
    return [(f"Accuracy, {measured.source}", percent(measured.teacher), percent(measured.student), remark)]
