from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from cake_onnx.graph.ending import find_ending
from cake_onnx.graph.quantised_ending import plain_ending
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.wiring import Wiring

Draw = Callable[..., Any]
Parse = Callable[..., ModelProto]
GRID = {"s": np.array(1 / 256, dtype=np.float32), "z": np.array(0, dtype=np.uint8)}
STEP = 1 / 256


def ending_of(model: ModelProto) -> str:
    return find_ending(Wiring(model.graph), model.graph.output[0].name).activation


def run(model: ModelProto, x: Any) -> Any:
    return open_session(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize("activation", ["Softmax", "Sigmoid"])
@pytest.mark.parametrize("between", ["q", "r"])
def test_a_pair_after_the_activation_is_dropped(
    activation: str, between: str, parse: Parse, draw: Draw
) -> None:
    model = parse(
        f"""g (float[B, 4] x) => (float[B, 3] y) {{
             l = MatMul(x, w)
             p = {activation}(l)
             q = QuantizeLinear(p, s, z)
             {"r = Reshape(q, t)" if between == "r" else ""}
             y = DequantizeLinear({between}, s, z)
        }}""",
        w=draw(4, 3),
        t=np.array([-1, 3], dtype=np.int64),
        **GRID,
    )
    original = onnx.ModelProto()
    original.CopyFrom(model)
    assert ending_of(model) == "none"
    plain = plain_ending(model)
    onnx.checker.check_model(plain, full_check=True)
    assert ending_of(plain) == activation.lower()
    x = draw(6, 4)
    assert 0 < np.abs(run(plain, x) - run(model, x)).max() <= 0.5 * STEP + 1e-6
    assert model == original


@pytest.mark.parametrize(
    ("activation", "options"), [("QLinearSoftmax", {"axis": 1, "opset": 13}), ("QLinearSigmoid", {})]
)
def test_a_fused_activation_is_spelled_out(
    activation: str, options: dict[str, int], parse: Parse, draw: Draw
) -> None:
    model = parse(
        """g (float[B, 3] x) => (float[B, 3] y) {
             l = QuantizeLinear(x, ls, lz)
             q = Identity(l)
             y = DequantizeLinear(q, s, z)
        }""",
        ls=np.array(0.02, dtype=np.float32),
        lz=np.array(128, dtype=np.uint8),
        **GRID,
    )
    fused = helper.make_node(
        activation,
        ["l", "ls", "lz", "s", "z"],
        ["q"],
        domain="com.microsoft",
        **options,  # type: ignore[arg-type]
    )
    model.graph.node[1].CopyFrom(fused)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    plain = plain_ending(model)
    onnx.checker.check_model(plain, full_check=True)
    assert ending_of(plain) == activation.removeprefix("QLinear").lower()
    x = draw(6, 3)
    assert 0 < np.abs(run(plain, x) - run(model, x)).max() <= STEP


def test_a_softmax_over_other_axes_stays(parse: Parse) -> None:
    model = parse(
        "g (float[B, 3] x) => (float[B, 3] y) { q = Identity(x)\n y = DequantizeLinear(q, s, z) }", **GRID
    )
    model.graph.node[0].CopyFrom(
        helper.make_node(
            "QLinearSoftmax", ["x", "s", "z", "s", "z"], ["q"], domain="com.microsoft", axis=1, opset=11
        )
    )
    assert plain_ending(model) == model


@pytest.mark.parametrize(
    "text",
    [
        # Quantised logits: the grid is part of what the model computes.
        "l = MatMul(x, w)\n q = QuantizeLinear(l, s, z)\n y = DequantizeLinear(q, s, z)",
        # Something is computed after it.
        "p = Softmax(x)\n q = QuantizeLinear(p, s, z)\n d = DequantizeLinear(q, s, z)\n y = MatMul(d, w)",
    ],
)
def test_other_grids_stay(text: str, parse: Parse, draw: Draw) -> None:
    model = parse(f"g (float[B, 3] x) => (float[B, 3] y) {{ {text} }}", w=draw(3, 3), **GRID)
    assert plain_ending(model) == model


def test_a_grid_that_is_read_twice_stays(parse: Parse) -> None:
    model = parse(
        """g (float[B, 3] x) => (float[B, 3] y, float[B, 3] e) {
             p = Softmax(x)
             q = QuantizeLinear(p, s, z)
             y = DequantizeLinear(q, s, z)
             e = DequantizeLinear(q, s, z)
        }""",
        **GRID,
    )
    assert plain_ending(model) == model
