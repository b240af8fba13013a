from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.tensors import opset_of
from cake_onnx.graph.upgrade import is_old, upgrades

Parse = Callable[..., ModelProto]


def test_only_old_files_are_old(linear: ModelProto) -> None:
    assert not is_old(linear)
    linear.opset_import[0].version = 8
    assert is_old(linear)


def test_a_broadcast_of_opset_6_is_rewritten(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        "g (float[2, 4] x) => (float[2, 3] y) { y = Gemm(x, w, b) }", opset=6, w=draw(4, 3), b=draw(3)
    )
    model.graph.node[0].attribute.append(helper.make_attribute("broadcast", 1))
    (first, second) = upgrades(model)
    assert (opset_of(first), opset_of(second)) == (13, 9)
    x = draw(2, 4)
    for upgraded in (first, second):
        (found,) = open_session(upgraded.SerializeToString()).run(None, {"x": x})
        np.testing.assert_allclose(found, x @ draw(4, 3) + draw(3), rtol=1e-5, atol=1e-5)


def test_what_onnx_cannot_rewrite_gives_nothing(parse: Parse) -> None:
    model = parse("g (float[2] x) => (float[2] y) { y = Relu(x) }", opset=6)
    model.graph.node[0].op_type = "NoOperatorAtAll"
    assert list(upgrades(model)) == []


def test_preparation_upgrades_and_says_so(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse("g (float[1, 4] x) => (float[1, 3] y) { y = MatMul(x, w) }", opset=8, w=draw(4, 3))
    prepared = prepare(model, *read_signature(model))
    assert prepared.notes == ("brought from opset 8 to opset 13",)
    assert opset_of(prepared.body) == 13


def test_newer_files_are_left_at_their_opset(linear: ModelProto) -> None:
    prepared = prepare(linear, *read_signature(linear))
    assert prepared.notes == ()
    assert opset_of(prepared.body) == 17
