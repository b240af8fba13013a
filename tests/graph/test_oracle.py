from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.oracle import Oracle, comparable_logits, computable
from cake_onnx.graph.prepare import Prepared, prepare
from cake_onnx.graph.probes import draw_probes
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.specs import InputSpec

Parse = Callable[..., ModelProto]
Draw = Callable[..., Any]


def _oracle(model: ModelProto) -> tuple[Oracle, Prepared, InputSpec]:
    input, output = read_signature(model)
    prepared = prepare(model, input, output)
    return Oracle(open_session(prepared.body.SerializeToString()), input, prepared), prepared, input


def test_logits_are_those_before_the_softmax(softmax_net: ModelProto) -> None:
    oracle, _, input = _oracle(softmax_net)
    x = draw_probes(input, seed=0).x
    logits = oracle.logits(x)
    said = open_session(softmax_net.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(torch.from_numpy(logits).softmax(1).numpy(), said, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(oracle.comparable(logits), logits)


def test_logarithms_of_probabilities_have_a_floor(parse: Parse) -> None:
    text = "g (float[B, 3] x) => (float[B, 3] p) { e = Exp(x)\n s = ReduceSum(e, one)\n p = Div(e, s) }"
    model = parse(text, one=np.array([1]))
    _, prepared, _ = _oracle(model)
    tail = torch.tensor([[0.0, -50.0, -60.0]])
    found = comparable_logits(tail, prepared)
    if prepared.cut.relation == "log":
        assert found[0, 1] == found[0, 2] == pytest.approx(-13.8)
    else:
        assert found.equal(tail), "preparation names such a softmax, and cuts before it"


def test_odd_samples_that_have_no_value_are_left_out(parse: Parse, draw: Draw) -> None:
    text = "g (float[B, 4] x) => (float[B, 3] y) {{ r = {root}\n y = MatMul(r, w) }}"
    oracle, _, input = _oracle(
        parse(text.format(root="MeanVarianceNormalization<axes = [1]>(x)"), w=draw(4, 3))
    )
    probes = draw_probes(input, seed=0)
    kept, logits = computable(oracle, probes)
    assert len(kept) == len(logits) <= len(probes)
    assert np.isfinite(logits).all()
    oracle, _, input = _oracle(parse(text.format(root="Log(x)"), w=draw(4, 3)))
    with pytest.raises(UnsupportedTeacherError, match="finite scores for values within the range"):
        computable(oracle, draw_probes(input, seed=0))
