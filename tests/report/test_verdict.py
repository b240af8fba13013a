from __future__ import annotations

from collections.abc import Callable

import pytest

from cake_onnx.report.model import Accuracy, Gate, Report
from cake_onnx.report.verdict import baseline, headline, percent, size_clause, verdict_sentence

MakeReport = Callable[..., Report]


def test_verdict_names_its_samples_its_interval_and_its_baseline(make_report: MakeReport) -> None:
    said = make_report().verdict
    assert said.startswith("The student is a 4.0x smaller file and agrees with its teacher on 97.3% of 2,000")
    for words in ("held-out samples", "95% interval 96.5% to 97.9%", "uniform noise: 89.5%"):
        assert words in said


def test_accuracy_is_claimed_only_with_labels(make_report: MakeReport) -> None:
    assert "accuracy was not measured" in make_report().verdict
    measured = Accuracy(source="test.npz", n=360, teacher=0.991, student=0.984, agreement=0.99)
    said = make_report(accuracy=measured).verdict
    assert "accuracy on 360 labelled samples of yours is 98.4% (teacher 99.1%)" in said
    assert "not measured" not in said


def test_failed_gates_are_named_with_what_was_wanted(make_report: MakeReport) -> None:
    gates = (
        Gate(name="agreement", wanted="at least 99%", got="97.3%", passed=False),
        Gate(name="size", wanted="4x", got="4.1x", passed=True),
    )
    report = make_report(gates=gates)
    assert not report.passed
    assert report.verdict.endswith("; not good enough: agreement (wanted at least 99%, got 97.3%).")


def test_a_given_verdict_is_kept_and_an_empty_one_is_written(make_report: MakeReport) -> None:
    report = make_report()
    assert report.verdict == verdict_sentence(report)
    assert make_report(verdict="Said before.").verdict == "Said before."


def test_data_of_the_user_leads_before_held_out_samples(make_report: MakeReport) -> None:
    fidelity = make_report().fidelity
    users = fidelity[2].model_copy(update={"role": "user", "samples": "your data", "n": 77})
    report = make_report(fidelity=(*fidelity, users))
    assert headline(report) == users
    assert "of 77 samples of your data" in report.verdict


def test_held_out_samples_that_agree_least_lead_and_the_others_stand_beside(make_report: MakeReport) -> None:
    held_out, noise, prior, between = make_report().fidelity
    both = (held_out, between.model_copy(update={"role": "held-out"}), prior, noise)
    report = make_report(fidelity=both)
    assert headline(report) == both[1]
    assert "agrees with its teacher on 95.3% of 4,000 samples between classes" in report.verdict
    assert "; held-out samples: 97.3%; uniform noise: 89.5%)" in report.verdict
    sure = held_out.model_copy(update={"agreement": 0.9})
    assert headline(make_report(fidelity=(sure, *both[1:]))) == sure


def test_a_baseline_never_leads(make_report: MakeReport) -> None:
    noise = make_report().fidelity[1]
    report = make_report(fidelity=(noise,))
    assert headline(report) is None
    assert baseline(report) == noise
    assert "was not measured" in report.verdict


@pytest.mark.parametrize(
    ("share", "shown"), [(1.0, "100.0%"), (0.99999, "99.9%"), (0.9734, "97.3%"), (0.0, "0.0%")]
)
def test_percent_never_rounds_up_to_all(share: float, shown: str) -> None:
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (500, "a 2.0x smaller file"),
        (1010, "a file of about the same size"),
        (1500, "a 1.5x larger file"),
        (125, "an 8.0x smaller file"),
        (90, "an 11.1x smaller file"),
        (9, "a 111.1x smaller file"),
        (18_000, "an 18.0x larger file"),
    ],
)
def test_size_is_told_both_ways(make_report: MakeReport, size: int, words: str) -> None:
    base = make_report()
    teacher = base.teacher.model_copy(update={"bytes": 1000})
    student = base.student.model_copy(update={"bytes": size})
    assert size_clause(make_report(teacher=teacher, student=student)) == words


def test_rounded_integers_of_one_alone_are_told(make_report: MakeReport) -> None:
    base = make_report()
    teacher = base.teacher.model_copy(update={"quantised": True})
    student = base.student.model_copy(update={"quantised": True})
    assert " file, not quantised although its teacher is, and agrees" in make_report(teacher=teacher).verdict
    assert " file, quantised although its teacher is not, and agrees" in make_report(student=student).verdict
    assert "quantised" not in make_report(teacher=teacher, student=student).verdict + base.verdict
