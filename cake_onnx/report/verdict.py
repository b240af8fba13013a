"""The one sentence, and which measurement leads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cake_onnx.judge.suites import leading_first

if TYPE_CHECKING:
    from cake_onnx.report.model import Fidelity, Report


def headline(report: Report) -> Fidelity | None:
    """The measurement that leads, by `leading_first`; None where there is but a baseline."""
    found = [fidelity for fidelity in report.fidelity if fidelity.role != "baseline"]
    return min(found, key=lambda entry: leading_first(entry.role, entry.agreement), default=None)


def baseline(report: Report) -> Fidelity | None:
    """The first measurement on baseline samples, or None."""
    return next((fidelity for fidelity in report.fidelity if fidelity.role == "baseline"), None)


def percent(share: float) -> str:
    """A share 0..1 as per cent with one digit, never rounded up to 100%."""
    shown = f"{100 * share:.1f}%"
    return "99.9%" if shown == "100.0%" and share < 1 else shown


def size_clause(report: Report) -> str:
    """How the sizes compare, and how the numbers in the files, where those of one are rounded integers."""
    return _size(report.teacher.bytes / report.student.bytes) + _kind_of_numbers(report)


def _size(ratio: float) -> str:
    """`a 4.1x smaller file`, `a 1.3x larger file`, or about the same within 5%."""
    if 1 / 1.05 < ratio < 1.05:
        return "a file of about the same size"
    factor, kind = (f"{ratio:.1f}", "smaller") if ratio > 1 else (f"{1 / ratio:.1f}", "larger")
    article = "an" if factor.startswith(("8", "11.", "18.")) else "a"
    return f"{article} {factor}x {kind} file"


def _kind_of_numbers(report: Report) -> str:
    teacher, student = report.teacher.quantised, report.student.quantised
    if teacher == student:
        return ""
    told = "not quantised although its teacher is" if teacher else "quantised although its teacher is not"
    return f", {told},"


def verdict_sentence(report: Report) -> str:
    """The verdict as one sentence that names the samples it rests on.

    Agreement is never called accuracy: that word stands only beside the user's labels, and where there
    are none the sentence says so.
    """
    start = f"The student is {size_clause(report)}"
    lead = headline(report)
    if lead is None:
        likeness = "how often it agrees with its teacher was not measured"
    else:
        likeness = (
            f"agrees with its teacher on {percent(lead.agreement)} of {lead.n:,} {_kind(lead)} "
            f"(95% interval {percent(lead.low)} to {percent(lead.high)}{_beside(report, lead)})"
        )
    return f"{start} and {likeness}; {_accuracy_clause(report)}{_gate_clause(report)}."


def _kind(fidelity: Fidelity) -> str:
    return "samples of your data" if fidelity.role == "user" else fidelity.samples


def _beside(report: Report, lead: Fidelity) -> str:
    """What else was measured, of the same role as what leads and on the baseline."""
    others = [entry for entry in report.fidelity if entry.role == lead.role and entry is not lead]
    noise = baseline(report)
    told = others if noise is None else [*others, noise]
    return "".join(f"; {entry.samples}: {percent(entry.agreement)}" for entry in told)


def _accuracy_clause(report: Report) -> str:
    measured = report.accuracy
    if measured is None:
        return "accuracy was not measured, because no labelled data was given"
    return (
        f"accuracy on {measured.n:,} labelled samples of yours is {percent(measured.student)} "
        f"(teacher {percent(measured.teacher)})"
    )


def _gate_clause(report: Report) -> str:
    failed = [gate for gate in report.gates if not gate.passed]
    if not failed:
        return ""
    told = ", ".join(f"{gate.name} (wanted {gate.wanted}, got {gate.got})" for gate in failed)
    return f"; not good enough: {told}"
