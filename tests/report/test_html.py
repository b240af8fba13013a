from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from cake_onnx.report.html import render_html
from cake_onnx.report.model import ClassAgreement, LayerWidths, Report
from cake_onnx.report.pictures import Pictures

MakeReport = Callable[..., Report]
LIMIT = 3_000_000


class Page(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_page_holds_every_part(make_report: MakeReport, digits: Pictures) -> None:
    page = render_html(make_report(), digits)
    for heading in (
        "Before and after", "How alike, and on what", "While it learned", "Synthetic samples",
        "How sure both are",
        "Agreement by class", "Time of a call", "What was assumed", "The two files", "How to repeat",
    ):  # fmt: skip
        assert f">{heading}</h2>" in page
    assert page.index('id="verdict"') < page.index("Before and after")
    assert "<bdi>onnxruntime</bdi> <bdi>1.32.0</bdi>" in page
    assert "cake-onnx compress digits_cnn.onnx --compression 4x" in page


def test_page_tells_what_samples_were_made_of(make_report: MakeReport, digits: Pictures) -> None:
    assert "Made from the teacher alone, without any data." in render_html(make_report(), digits)
    run = make_report().run.model_copy(update={"own_prior": "mine:<b>"})
    page = render_html(make_report(run=run), digits)
    assert 'and what <span class="mono"><bdi>mine:&lt;b&gt;</bdi></span> draws.' in page
    assert "without any data. Below" not in page


def test_page_asks_for_nothing_outside_itself(make_report: MakeReport, digits: Pictures) -> None:
    page = Page(render_html(make_report(), digits))
    names = {name for name, _ in page.elements}
    assert not names & {"script", "iframe", "object", "embed", "base", "form", "video", "audio", "source"}
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def test_every_picture_says_what_it_shows(make_report: MakeReport, digits: Pictures) -> None:
    images = Page(render_html(make_report(), digits)).all("img")
    assert len(images) > 40
    assert all(len(image["alt"] or "") > 10 for image in images)


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}", "\u202ex"]
)
def test_hostile_names_stay_text(make_report: MakeReport, digits: Pictures, hostile: str) -> None:
    widths = (LayerWidths(layers=("a", "b"), teacher=2, student=1),)
    base = make_report(
        teacher=make_report().teacher.model_copy(update={"operators": {"Conv": 1}}),
        student=make_report().student.model_copy(update={"widths": widths}),
    )
    report = make_report(
        teacher=base.teacher.model_copy(
            update={"file": hostile.replace("/", ":"), "operators": {hostile: 1}}
        ),
        input=base.input.model_copy(update={"name": hostile, "bounds_source": hostile}),
        output=base.output.model_copy(update={"names": (hostile,), "class_names": (hostile,) * 10}),
        student=base.student.model_copy(
            update={"widths": (LayerWidths(layers=(hostile, "b"), teacher=2, student=1),)}
        ),
        assumptions=(hostile,),
        command=hostile,
        config=hostile,
    )
    page, plain = Page(render_html(report, digits)), Page(render_html(base, digits))
    assert [name for name, _ in page.elements] == [name for name, _ in plain.elements]
    assert [set(attributes) for _, attributes in page.elements] == [set(a) for _, a in plain.elements]
    assert "".join(page.words).count(hostile) >= 15
    assert any(hostile in (image["alt"] or "") for image in page.all("img"))


def test_equal_reports_give_equal_bytes(
    make_report: MakeReport, digits: Pictures, moons: Pictures, table: Pictures
) -> None:
    for pictures in (digits, moons, table):
        assert render_html(make_report(), pictures) == render_html(make_report(), pictures)


def test_large_images_and_1000_long_class_names_stay_small(make_report: MakeReport) -> None:
    rng = np.random.default_rng(0)
    samples = rng.random((60, 3, 224, 224), dtype=np.float32)
    labels = np.arange(60)
    base = make_report(classes=1000)
    names = tuple(f"a rather long name of the class number {k} in a list of a thousand" for k in range(1000))
    report = make_report(classes=1000, output=base.output.model_copy(update={"class_names": names}))
    page = render_html(report, Pictures(samples, labels, labels, "NCHW", np.zeros(1), np.ones(1)))
    assert len(page.encode()) < LIMIT
    # Twenty bars and forty pictures (caption and alt) name classes; the other 940 are not listed.
    assert len(set(re.findall(r"class number (\d+) in", page))) <= 60


def test_worst_of_many_classes_come_first(make_report: MakeReport) -> None:
    base = make_report(classes=100)
    classes = tuple(
        ClassAgreement(class_index=k, n=5 * (k != 7), agreement=None if k == 7 else k / 100)
        for k in range(100)
    )
    lead = base.fidelity[0].model_copy(update={"per_class": classes[::-1]})
    page = render_html(make_report(classes=100, fidelity=(lead,)), None)
    section = page[page.index('id="classes"') : page.index('id="latency"')]
    shown = [int(k) for k in re.findall(r'<th scope="row"><bdi>(\d+)</bdi>', section)]
    assert shown == [k for k in range(21) if k != 7]
    assert "gave one class no sample" in section


def test_comparison_without_run_leaves_parts_out(make_report: MakeReport) -> None:
    base = make_report()
    report = make_report(
        conversion=None, export=None, curves=(), margins=None, gates=(), config="",
        run=base.run.model_copy(update={"method": None, "rounds": 0, "passes": 0.0}),
        teacher=base.teacher.model_copy(update={"latency": ()}),
        student=base.student.model_copy(update={"latency": ()}),
    )  # fmt: skip
    page = render_html(report, None)
    for absent in (
        "While it learned",
        "Synthetic samples",
        "How sure both are",
        "Time of a call",
        "config.toml",
    ):
        assert absent not in page
    assert "No gate was set" in page


def test_samples_on_which_models_differ_are_marked(make_report: MakeReport, digits: Pictures) -> None:
    assert ' class="differs"' in render_html(make_report(), digits)
    same = replace(digits, student=digits.teacher)
    assert ' class="differs"' not in render_html(make_report(), same)


def widths_shown(page: str) -> list[tuple[str, int, int, str]]:
    """The rows of the table of widths: layers, channels of teacher and student, share kept."""
    table = page[page.index('aria-label="Widths of the layers"') :].partition("</table>")[0]
    rows = [[cell for cell in Page(row).words if cell.strip()] for row in table.split("<tr>")[2:]]
    return [("".join(row[:-3]), int(row[-3]), int(row[-2]), row[-1]) for row in rows]


def test_widths_stand_beside_those_of_the_teacher(make_report: MakeReport) -> None:
    page = render_html(make_report(), None)
    assert widths_shown(page) == [
        ("conv1", 6, 5, "83.3%"),
        ("conv2, shortcut", 16, 12, "75.0%"),
        ("fc1", 120, 40, "33.3%"),
    ]
    assert "width:83.3%" in page
    assert "<details open>" in page


def test_many_widths_are_folded_up(make_report: MakeReport) -> None:
    many = tuple(LayerWidths(layers=(f"layer {k}",), teacher=k + 1, student=1) for k in range(30))
    student = make_report().student.model_copy(update={"widths": many})
    page = render_html(make_report(student=student), None)
    assert "<details open>" not in page
    assert "<summary>30 widths</summary>" in page
    assert len(widths_shown(page)) == 30


def test_a_student_of_another_shape_has_no_widths(make_report: MakeReport) -> None:
    student = make_report().student.model_copy(update={"widths": None})
    assert "Widths" not in render_html(make_report(student=student), None)
