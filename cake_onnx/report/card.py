"""`MODEL_CARD.md`: what the student is, how alike, what nobody checked. Holds no time of any kind."""

from __future__ import annotations

import re

from cake_onnx.graph.specs import range_text
from cake_onnx.report.measures import Gate
from cake_onnx.report.model import Report
from cake_onnx.report.table import file_size, size_rows
from cake_onnx.report.verdict import percent

_INLINE = re.compile(r"([\\`*_\[\]|~$])")
_START = re.compile(r"^(\d+(?=[.)](?:\s|$))|(?=[#+\-=]))")
_AT_RISK = """\
- **Bias.** The student learns what the teacher says, right or wrong, and takes its biases over.
- **Backdoors.** Copying without data is known to carry hidden triggers over. A teacher you do not trust makes a student you should not trust.
- **Confidence.** On inputs unlike those the teacher was made for, both may be wrong and sure, and not in the same way.
- **The right to copy.** Make sure that the teacher's licence, and whoever owns it, allow you to make and use this copy."""  # noqa: E501


def render_card(report: Report) -> str:
    """The model card as Markdown.

    Names from the models are escaped for Markdown and HTML. The text depends on no clock: latency and
    run time are left to the report, so the same run writes the same card.
    """
    sections = (
        _what(report),
        _alike(report),
        "## What copying without data can carry over\n\n" + _AT_RISK,
        _use(report),
        _repeat(report),
    )
    return "\n\n".join(sections) + "\n"


def escape(text: str) -> str:
    """Text that Markdown and HTML show as it is, on one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _START.sub(r"\1\\", _INLINE.sub(r"\\\1", line))
    # Some viewers turn bare addresses into links.
    return line.replace("://", "&#58;//").replace("@", "&#64;").replace("www.", "www\\.")


def _what(report: Report) -> str:
    teacher, student = report.teacher, report.student
    lines = [
        f"# {escape(student.file)}",
        f"A smaller copy of the classifier {escape(teacher.file)}, made by cake-onnx "
        f"{escape(report.cake_onnx)} from {_made_from(report)}.",
        f"**{escape(report.verdict)}**",
        _table(("", "teacher", "student", "change"), [*size_rows(report)]),
        f"Kind of student: {escape(student.family)}, because {escape(student.chosen_because)}.",
        f"Teacher SHA-256: `{teacher.sha256}`  \nStudent SHA-256: `{student.sha256}`",
    ]
    return "\n\n".join(lines)


def _made_from(report: Report) -> str:
    own = report.run.own_prior
    return f"that file and what {escape(own)} draws" if own else "that file alone, without any data"


def _alike(report: Report) -> str:
    rows = [
        (
            fidelity.samples + (" (baseline)" if fidelity.role == "baseline" else ""),
            f"{fidelity.n:,}",
            percent(fidelity.agreement),
            f"{percent(fidelity.low)} to {percent(fidelity.high)}",
        )
        for fidelity in report.fidelity
    ]
    parts = ["## How alike, and on what"]
    parts.append(_table(("samples", "n", "agreement", "95% interval"), rows) if rows else "Not measured.")
    parts.append("Agreement is how often both give the same class, right or wrong.")
    measured = report.accuracy
    if measured is None:
        parts.append("**Accuracy was not measured**: no labelled data was given. Agreement is not accuracy.")
    else:
        parts.append(
            f"Accuracy on {escape(measured.source)} ({measured.n:,} labelled samples): teacher "
            f"{percent(measured.teacher)}, student {percent(measured.student)}."
        )
    found = report.rounding
    if found is not None:
        parts.append(
            "It was quantised after it had learnt, calibrated on "
            f"{found.calibrated_on:,} samples of the prior. "
            f"In float32 ({file_size(found.bytes)}) it names the same class on {percent(found.agreement)} of "
            f"{found.n:,} {escape(found.samples)}."
        )
    if report.gates:
        parts.append("\n".join(_gate_line(gate) for gate in report.gates))
    return "\n\n".join(parts)


def _gate_line(gate: Gate) -> str:
    result = "Passed" if gate.passed else "**Failed**"
    return f"- {result}: {escape(gate.name)}, wanted {escape(gate.wanted)}, got {escape(gate.got)}"


def _use(report: Report) -> str:
    given, said = report.input, report.output
    shape = " x ".join(["batch", *(str(size) for size in given.shape)])
    outputs = ", ".join(escape(name) for name in said.names)
    lines = [
        "## How to use it",
        "A program that loads the teacher loads the student unchanged: the same inputs and outputs.",
        f"- Input {escape(given.name)}: {escape(given.dtype)}, {shape} ({given.layout}), values "
        f"{escape(range_text(given.low, given.high))} ({escape(given.bounds_source)})\n"
        f"- Output {outputs}: {escape(said.kind)}, {said.classes:,} classes",
    ]
    if report.teacher.quantised and not report.student.quantised:
        lines.append(
            "The teacher is quantised and the student is not: `cake-onnx compress --quantize int8` makes one "
            "that is."
        )
    assumed = [*report.assumptions]
    if given.bounds_assumed:
        assumed.insert(
            0, "The range of the input was assumed. If it is wrong, the numbers above mean little."
        )
    if assumed:
        lines.append("Taken for granted:\n\n" + "\n".join(f"- {escape(line)}" for line in assumed))
    return "\n\n".join(lines)


def _repeat(report: Report) -> str:
    text = f"## How to repeat\n\n{_fenced(report.command)}"
    return text + f"\n\nwith this `config.toml`:\n\n{_fenced(report.config)}" if report.config else text


def _fenced(text: str) -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text.rstrip()}\n{fence}"


def _table(head: tuple[str, ...], rows: list[tuple[str, str, str, str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join('---' for _ in head)}|"]
    lines += [f"| {' | '.join(escape(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)
