from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from cake_onnx.graph.activations import name_softmaxes
from cake_onnx.graph.runtime import open_session

BY_HAND = {
    "log sum": ("l = ReduceLogSumExp<axes = [1], keepdims = 1>(x)\n d = Sub(x, l)\n y = Exp(d)", True),
    "log sum reshaped": (
        "l = ReduceLogSumExp<axes = [-1], keepdims = 0>(x)\n r = Reshape(l, column)\n"
        " d = Sub(x, r)\n y = Exp(d)",
        True,
    ),
    "quotient": ("e = Exp(x)\n s = ReduceSum(e, one)\n y = Div(e, s)", True),
    "shifted": (
        "m = ReduceMax<axes = [1]>(x)\n d = Sub(x, m)\n e = Exp(d)\n s = ReduceSum(e, one)\n y = Div(e, s)",
        True,
    ),
    "of another tensor": (
        "e = Exp(x)\n n = Neg(x)\n f = Exp(n)\n s = ReduceSum(f, one)\n y = Div(e, s)",
        False,
    ),
    "over the batch": ("e = Exp(x)\n s = ReduceSum(e, zero)\n y = Div(e, s)", False),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_softmax_written_by_hand_is_named(name: str, parse: Callable[..., ModelProto]) -> None:
    nodes, named = BY_HAND[name]
    stored = {"one": np.array([1]), "zero": np.array([0]), "column": np.array([-1, 1])}
    model = parse(f"g (float[B, 3] x) => (float[B, 3] y) {{ {nodes} }}", **stored)
    result = name_softmaxes(model)
    assert (result.graph.node[-1].op_type == "Softmax") is named
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    wanted, found = (open_session(m.SerializeToString()).run(None, {"x": x})[0] for m in (model, result))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
