from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from markdown_it import MarkdownIt

from cake_onnx.report.card import escape, render_card
from cake_onnx.report.model import Accuracy, Latency, Report, Rounding, Seconds

MakeReport = Callable[..., Report]


def html(markdown: str) -> str:
    return str(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))


def test_card_says_what_it_must(make_report: MakeReport) -> None:
    card = render_card(make_report())
    shown = html(card)
    for words in (
        "digits_cnn.onnx", "a3" * 32, "0f" * 32, "held-out samples", "uniform noise (baseline)",
        "97.3%", "Accuracy was not measured", "Bias", "Backdoors", "Confidence", "right to copy",
        "batch x 1 x 8 x 8", "logits", "--compression 4x", "seed = 0", "range of the input was assumed",
    ):  # fmt: skip
        assert words in shown, words


def test_card_tells_how_a_student_becomes_quantised_as_its_teacher(make_report: MakeReport) -> None:
    teacher = make_report().teacher.model_copy(update={"quantised": True})
    assert "cake-onnx compress --quantize int8" in html(render_card(make_report(teacher=teacher)))
    assert "--quantize" not in html(render_card(make_report()))


def test_card_tells_of_what_a_student_was_made(make_report: MakeReport) -> None:
    assert "from that file alone, without any data." in html(render_card(make_report()))
    run = make_report().run.model_copy(update={"own_prior": "mine:Un_labelled"})
    shown = html(render_card(make_report(run=run)))
    assert "from that file and what mine:Un_labelled draws." in shown
    assert "without any data" not in shown


def test_card_tells_what_quantising_changed(make_report: MakeReport) -> None:
    rounding = Rounding(
        calibrated_on=2000, samples="held-out samples", n=1500, agreement=0.9926, bytes=61_000
    )
    shown = html(render_card(make_report(rounding=rounding)))
    assert "calibrated on 2,000 samples of the prior" in shown
    assert "In float32 (61.0 kB) it names the same class on 99.3% of 1,500 held-out samples." in shown


def test_card_tells_accuracy_where_labels_were_given(make_report: MakeReport) -> None:
    card = render_card(
        make_report(accuracy=Accuracy(source="test.npz", n=360, teacher=0.991, student=0.984, agreement=0.99))
    )
    assert "not measured" not in card
    assert "Accuracy on test.npz (360 labelled samples): teacher 99.1%, student 98.4%." in html(card)


def test_card_does_not_depend_on_a_clock(make_report: MakeReport) -> None:
    base = make_report()
    slow = Latency(
        provider="CPUExecutionProvider", threads=1, batch=1, median_ms=987.6, p10_ms=987.5, p90_ms=987.7, n=3
    )
    run = base.run.model_copy(update={"seconds": Seconds(total=98765.0, stages={})})
    student = base.student.model_copy(update={"latency": (slow,)})
    assert render_card(make_report(run=run, student=student)) == render_card(base)
    assert not re.search(r"\b20\d\d-\d\d", render_card(base))


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "a | b",
        "![](x)",
        "# x",
        "`x`",
        "*x* _y_",
        "&lt;b&gt;",
        "1. x",
        "1) x",
        "- x",
        "+ x",
        "> x",
        "===",
        "a_b_c",
        "~~x~~",
        "a@example.org",
        "see https://example.org/ or www.example.org",
    ],
)
def test_hostile_names_stay_text(make_report: MakeReport, hostile: str) -> None:
    base = make_report()
    teacher = base.teacher.model_copy(update={"file": hostile.replace("/", ":")})
    facts = base.input.model_copy(update={"name": hostile})
    output = base.output.model_copy(update={"names": (hostile,)})
    report = make_report(teacher=teacher, input=facts, output=output, assumptions=(hostile,))
    shown = html(render_card(report))
    plain = html(render_card(base))
    for tag in ("<script", "<a ", "<img", "<em", "<td", "<h1", "<h2", "<li"):
        assert shown.count(tag) == plain.count(tag), tag
    escaped = hostile.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f"<li>{escaped}</li>" in shown


def test_new_lines_in_names_cannot_start_a_block() -> None:
    assert escape("a\n\n# b\r\tc\x00") == "a # b c"


def test_code_block_cannot_be_closed_from_inside(make_report: MakeReport) -> None:
    shown = html(render_card(make_report(config="a = '''\n```\n<script>x</script>\n")))
    assert "<script" not in shown
