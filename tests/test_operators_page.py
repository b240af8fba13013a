"""docs/operators.md: the page is what the registry says, and the generator notices what it should."""

from __future__ import annotations

import pytest

from docs.make_operators import PAGE, Line, lines, render

LINES = {(line.domain, line.name): line for line in lines()}


def test_the_committed_page_is_fresh() -> None:
    assert PAGE.read_text("utf-8") == render(LINES.values()), "stale: run python docs/make_operators.py"


def test_every_version_has_exactly_one_converter_or_none() -> None:
    for line in LINES.values():
        versions = [*line.ours, *line.engine, *line.expanded, *line.missing]
        assert len(versions) == len(set(versions)) >= 1


@pytest.mark.parametrize(
    ("domain", "name", "converts"),
    [
        ("", "Conv", True),
        ("", "LSTM", True),
        ("", "RandomNormal", False),
        ("", "RoiAlign", False),
        ("ai.onnx.ml", "Scaler", True),
        ("ai.onnx.ml", "TreeEnsembleClassifier", False),
        ("com.microsoft", "Gelu", True),
    ],
)
def test_known_operators_are_where_they_belong(domain: str, name: str, converts: bool) -> None:
    assert LINES[domain, name].converts is converts


def test_node_tests_and_own_tests_are_told() -> None:
    assert LINES["", "Conv"].passed[1] > 0
    assert LINES["", "Conv"].tested


def test_what_does_not_convert_is_told_with_a_reason() -> None:
    page = render([Line("", "RandomNormal", (), (), (), (1, 22), (0, 0), tested=False)])
    assert "| RandomNormal (ai.onnx) | it draws at random" in page.partition("## Not supported")[2]
    page = render([Line("", "Conv", (1, 11), (), (22,), (23,), (5, 6), tested=True)])
    assert "| Conv | ours 1, 11; function 22 | 23 | 5 of 6 | yes |" in page
