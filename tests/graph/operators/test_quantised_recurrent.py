from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session
from tests.graph.operators.whole_numbers import draw_whole

STEPS, FEATURES, HIDDEN = 5, 3, 4


def lstm_model(
    direction: str, dtype: Any, *, per_column: bool, states: bool, **attributes: Any
) -> ModelProto:
    """Sequences `(T, B, I)` to Y, or to the last hidden state."""
    rng, count = np.random.default_rng(0), 2 if direction == "bidirectional" else 1
    columns = (count, 4 * HIDDEN) if per_column else (count,)
    middle = 0 if dtype == np.int8 else 128
    stored: dict[str, Any] = {
        "w": draw_whole(dtype, count, FEATURES, 4 * HIDDEN),
        "r": draw_whole(dtype, count, HIDDEN, 4 * HIDDEN),
        "b": rng.standard_normal((count, 8 * HIDDEN)).astype(np.float32),
        "h": rng.standard_normal((count, 1, HIDDEN)).astype(np.float32),
        "c": rng.standard_normal((count, 1, HIDDEN)).astype(np.float32),
        "ws": rng.uniform(0.005, 0.01, columns).astype(np.float32),
        "wz": np.full(columns, middle, dtype=dtype),
        "rs": rng.uniform(0.005, 0.01, columns).astype(np.float32),
        "rz": np.full(columns, middle, dtype=dtype),
    }
    start = ["h", "c"] if states else ["", ""]
    names = ["x", "w", "r", "b", "", *start, "", "ws", "wz", "rs", "rz"]
    node = helper.make_node(
        "DynamicQuantizeLSTM",
        names,
        ["all", "y"] if states else ["y"],
        domain="com.microsoft",
        hidden_size=HIDDEN,
        direction=direction,
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "lstm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [STEPS, 1, FEATURES])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(value, name) for name, value in stored.items() if name in names],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("per_column", [False, True])
def test_lstm(direction: str, dtype: Any, states: bool, per_column: bool) -> None:
    model = lstm_model(direction, dtype, per_column=per_column, states=states)
    x = np.random.default_rng(1).standard_normal((STEPS, 1, FEATURES)).astype(np.float32)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    point = torch.from_numpy(x).requires_grad_()
    module = convert_graph(model)
    found = module(point)
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-4, atol=1e-5)
    (slope,) = torch.autograd.grad(found.square().sum(), point)
    assert slope.isfinite().all()
    assert (slope.abs().sum(dim=(1, 2)) > 0).all()
    batch = torch.stack([point.detach(), -point.detach()])
    assert torch.allclose(torch.vmap(module)(batch)[0], found.detach(), atol=1e-6)


def test_other_gates_are_declined() -> None:
    model = lstm_model("forward", np.int8, per_column=False, states=False, clip=1.0)
    with pytest.raises(UnsupportedTeacherError, match="clipping"):
        convert_graph(model)
    gates = ["HardSigmoid", "Tanh", "Tanh"]
    model = lstm_model("forward", np.int8, per_column=False, states=False, activations=gates)
    with pytest.raises(UnsupportedTeacherError, match="HardSigmoid"):
        convert_graph(model)
