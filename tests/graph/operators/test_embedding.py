from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

Draw = Callable[..., Any]
TOKENS = np.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 0]], np.int32)


@pytest.mark.parametrize("output", ["normal", "count", "sum"])
@pytest.mark.parametrize("left_out", ["segments", "mask", "positions", ""])
def test_embed_layer_normalization(output: str, left_out: str, draw: Draw) -> None:
    stored = {
        "segments": TOKENS % 2,
        "words": draw(8, 6),
        "places": draw(9, 6),
        "kinds": draw(2, 6),
        "scale": draw(6),
        "shift": draw(7)[:6],
        "mask": (TOKENS > 2).astype(np.int32),
        "positions": TOKENS[:, ::-1].copy(),
    }
    gone = {left_out, "kinds" if left_out == "segments" else ""}
    names = ["tokens", *("" if name in gone else name for name in stored)]
    outputs = ["normal", "count", "sum"]
    node = helper.make_node(
        "EmbedLayerNormalization", names, outputs, domain="com.microsoft", name="node", epsilon=1e-3
    )
    graph = helper.make_graph(
        [node],
        "embed",
        [helper.make_tensor_value_info("tokens", TensorProto.INT32, TOKENS.shape)],
        [helper.make_empty_tensor_value_info(output)],
        [numpy_helper.from_array(value, name) for name, value in stored.items() if name in names],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    (wanted,) = open_session(model.SerializeToString()).run(None, {"tokens": TOKENS})
    found = convert_graph(model)(torch.from_numpy(TOKENS))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)
