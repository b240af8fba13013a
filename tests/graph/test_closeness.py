from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.graph.closeness import Closeness, agreement, closeness_of
from cake_onnx.graph.runtime import Array
from cake_onnx.graph.slopes import Slopes

WANTED = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
Parse = Callable[..., ModelProto]


def _rule(parse: Parse, nodes: str = "y = Relu(x)", *, quantised: bool = False) -> Closeness:
    return closeness_of(parse(f"g (float[B, 3] x) => (float y) {{ {nodes} }}"), quantised=quantised)


def _misses(rule: Closeness, found: Array) -> bool:
    return rule.worst_miss(found, WANTED, rule.allowed(WANTED)) is not None


def test_floats_are_measured_class_by_class(parse: Parse) -> None:
    rule = _rule(parse)
    wanted = WANTED * np.array([1000.0, 1.0, 1.0], np.float32) + np.array([0.0, 0.0, 0.0], np.float32)
    allowed = rule.allowed(wanted)
    assert allowed[0, 0] > 20 * allowed[0, 1]
    assert not _misses(rule, WANTED + 1e-4)
    assert _misses(rule, WANTED + 1e-2)


def test_half_of_a_quantised_graph_may_be_off_and_none_by_much(parse: Parse) -> None:
    rule = _rule(parse, quantised=True)
    some = WANTED.copy()
    some[:8] += 0.3
    assert not _misses(rule, some)
    assert _misses(rule, WANTED + 0.3)
    some[0] += 3.0
    assert _misses(rule, some)


def test_one_in_ten_of_a_binarised_graph_may_be_off(parse: Parse) -> None:
    rule = _rule(parse, "h = Sign(x)\n y = Relu(h)")
    assert rule.rounds
    some = WANTED.copy()
    some[:2] += 0.5
    assert not _misses(rule, some)
    some[:5] += 0.5
    assert _misses(rule, some)


def test_half_precision_is_looser(parse: Parse) -> None:
    half = parse("g (float16[B, 3] x) => (float16 y) { y = Add(x, c) }", c=np.array([1, 2, 3], np.float16))
    assert closeness_of(half, quantised=False).relative > _rule(parse).relative


@pytest.mark.parametrize(
    ("along", "across", "words"),
    [
        ([0.01] * 8, [0.05] * 8, None),
        ([0.01] * 7 + [0.9], [0.05] * 8, None),
        ([0.01] * 4 + [0.9] * 4, [0.05] * 8, "gradients within 10%"),
        ([0.01] * 8, [0.3] * 8, "lack no part"),
        ([0.01] + [np.nan] * 7, [np.nan] * 8, None),
        ([np.inf] * 8, [0.0] * 8, "gradients within 10%"),
    ],
)
def test_slopes(parse: Parse, along: list[float], across: list[float], words: str | None) -> None:
    slopes = Slopes(np.ones(8, np.float32), np.array(along, np.float32), np.array(across, np.float32))
    text = _rule(parse).slope_miss(slopes)
    assert (words is None and text is None) or (words is not None and text is not None and words in text[0])


def test_classes_of_rounded_graphs_must_agree(parse: Parse) -> None:
    rule = _rule(parse, quantised=True)
    assert rule.overall_miss(WANTED, WANTED) is None
    assert rule.overall_miss(WANTED[:, ::-1], WANTED) is not None
    assert _rule(parse).overall_miss(WANTED[:, ::-1], WANTED) is None, "floats are held by their values"


def test_agreement() -> None:
    assert agreement(WANTED, WANTED) == 1.0
    assert agreement(WANTED, -WANTED) < 0.5
