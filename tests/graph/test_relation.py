from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.nn import functional

from cake_onnx.graph.cut import Relation
from cake_onnx.graph.relation import from_logits, to_logits

ROWS = st.lists(st.lists(st.floats(-8, 8, width=32), min_size=4, max_size=4), min_size=1, max_size=5)


def _tail(raw: torch.Tensor, relation: Relation) -> torch.Tensor:
    """Probabilities as a graph of this kind computes them from its raw scores."""
    if relation == "one_score":
        p = raw.sigmoid()
        return torch.cat([1 - p, p], dim=1)
    if relation == "one_vs_rest":
        return functional.normalize(raw.sigmoid(), p=1, dim=1)
    return raw if relation == "log" else raw.softmax(dim=1)


@pytest.mark.parametrize("relation", ["identity", "one_vs_rest", "log"])
@given(rows=ROWS)
def test_a_student_behind_the_tail_says_its_own_probabilities(
    relation: Relation, rows: list[list[float]]
) -> None:
    logits = torch.tensor(rows)
    found = _tail(from_logits(logits, relation), relation)
    torch.testing.assert_close(found, logits.softmax(dim=1), rtol=1e-4, atol=1e-5)


@given(rows=ROWS)
def test_the_same_for_a_single_score(rows: list[list[float]]) -> None:
    logits = torch.tensor(rows)[:, :2]
    found = _tail(from_logits(logits, "one_score"), "one_score")
    torch.testing.assert_close(found, logits.softmax(dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("relation", ["identity", "one_score", "one_vs_rest", "log"])
def test_logits_say_the_probabilities_of_the_graph(relation: Relation) -> None:
    raw = torch.linspace(-3, 3, 12).reshape(4, 3)
    raw = raw[:, :1] if relation == "one_score" else raw.softmax(dim=1) if relation == "log" else raw
    found = to_logits(raw, relation).softmax(dim=1)
    torch.testing.assert_close(found, _tail(raw, relation))


def test_logits_that_are_computed_are_centred() -> None:
    raw = torch.tensor([[0.1, 0.2, 0.7]])
    for relation in ("one_vs_rest", "log"):
        assert to_logits(raw, relation).sum().abs() < 1e-5
    torch.testing.assert_close(to_logits(torch.tensor([[3.0]]), "one_score"), torch.tensor([[-1.5, 1.5]]))


def test_a_probability_of_zero_stays_finite() -> None:
    assert to_logits(torch.tensor([[0.0, 1.0]]), "log").isfinite().all()
