from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.operators.registry import MICROSOFT
from cake_onnx.graph.runtime import open_session

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize("opset", [12, 17])
def test_layer_normalization(opset: int, compare: Compare, draw: Draw) -> None:
    compare("LayerNormalization", draw(2, 3, 4), draw(4), draw(4), opset=opset)
    compare("LayerNormalization", draw(2, 3, 4), draw(4), opset=opset, epsilon=0.1, stash_type=1)
    compare("LayerNormalization", draw(2, 3, 4), draw(3, 4), draw(3, 4), opset=opset, axis=1)
    compare("LayerNormalization", draw(2, 3, 4), draw(1, 4), draw(3, 1), opset=opset, axis=1)


def test_rms_normalization(compare: Compare, draw: Draw) -> None:
    for axis, shape in ((-1, (4,)), (1, (3, 4)), (1, (3, 1)), (-1, (1,))):
        compare("RMSNormalization", draw(2, 3, 4), draw(*shape), opset=23, axis=axis, epsilon=0.1)
        compare("SimplifiedLayerNormalization", draw(2, 3, 4), draw(*shape), axis=axis, epsilon=0.1)


def test_group_normalization(compare: Compare, draw: Draw) -> None:
    compare("GroupNormalization", draw(2, 4, 5), draw(4), draw(4), opset=21, num_groups=2, epsilon=0.1)
    compare("GroupNormalization", draw(2, 4, 5), draw(2), draw(2), opset=18, num_groups=2)
    compare("GroupNormalization", draw(2, 6, 2, 3), draw(6), draw(6), opset=21, num_groups=3)


@pytest.mark.parametrize("branch", [(2, 3, 4), (1, 3, 4), (3, 4)])
def test_a_skip_connection(branch: tuple[int, ...], compare: Compare, draw: Draw) -> None:
    scale, shift, bias = draw(4), draw(4) + 1, draw(4) - 1
    for stored in ((scale,), (scale, shift), (scale, shift, bias), (scale, None, bias)):
        compare("SkipLayerNormalization", draw(2, 3, 4), draw(*branch), *stored, domain=MICROSOFT)
    for stored in ((scale,), (scale, bias)):
        compare(
            "SkipSimplifiedLayerNormalization",
            draw(2, 3, 4),
            draw(*branch),
            *stored,
            domain=MICROSOFT,
            epsilon=0.1,
        )


@pytest.mark.parametrize(
    ("op", "domain", "outputs"),
    [
        ("LayerNormalization", "", ["n", "y"]),
        ("LayerNormalization", "", ["n", "", "y"]),
        ("SimplifiedLayerNormalization", "", ["n", "y"]),
        ("SkipLayerNormalization", MICROSOFT, ["n", "", "", "y"]),
        ("SkipSimplifiedLayerNormalization", MICROSOFT, ["n", "", "", "y"]),
    ],
)
def test_further_outputs(op: str, domain: str, outputs: list[str], draw: Draw) -> None:
    names = ["x", "b", "s"] if domain else ["x", "s"]
    x = draw(2, 3, 4)
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, domain=domain)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 3, 4])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(draw(2, 3, 4) + 1, "b"), numpy_helper.from_array(draw(4), "s")],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    found = convert_graph(model)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
