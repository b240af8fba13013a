from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.operators.quantisation import Quantize

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize(
    ("dtype", "opset"),
    [
        *((dtype, opset) for dtype in (np.int8, np.uint8) for opset in (10, 13, 19, 21, 23)),
        *((dtype, opset) for dtype in (np.int16, np.uint16) for opset in (21, 23)),
    ],
)
def test_quantise(dtype: Any, opset: int, compare: Compare, draw: Draw) -> None:
    zero = np.array(3, dtype=dtype)
    compare("QuantizeLinear", draw(3, 4), np.array(0.02, np.float32), zero, opset=opset)


def test_halves_go_to_the_even_neighbour_and_the_ends_saturate(compare: Compare) -> None:
    x = np.array([[0.5, 1.5, 2.5, -0.5, 500.0, -500.0]], dtype=np.float32)
    found = compare("QuantizeLinear", x, np.array(1, np.float32), np.array(0, np.int8))
    assert found.tolist() == [[0, 2, 2, 0, 127, -128]]


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_quantise_along_an_axis(axis: int, compare: Compare, draw: Draw) -> None:
    count = (2, 3, 4)[axis]
    scale = np.linspace(0.01, 0.05, count, dtype=np.float32)
    compare("QuantizeLinear", draw(2, 3, 4), scale, np.arange(count, dtype=np.uint8), axis=axis)


def test_the_type_without_a_zero_point(compare: Compare, draw: Draw) -> None:
    scale = np.array(0.05, dtype=np.float32)
    assert compare("QuantizeLinear", draw(3, 4), scale).dtype == np.uint8
    found = compare("QuantizeLinear", draw(3, 4), scale, opset=21, output_dtype=TensorProto.INT8)
    assert found.dtype == np.int8


@pytest.mark.parametrize("axis", [0, 1])
def test_there_and_back_along_an_axis(axis: int, parse: Callable[..., ModelProto], draw: Draw) -> None:
    count = (5, 4)[axis]
    model = parse(
        f"""g (float[5, 4] x) => (float[5, 4] y) {{
             q = QuantizeLinear<axis = {axis}>(x, s, z)
             y = DequantizeLinear<axis = {axis}>(q, s, z)
        }}""",
        s=np.linspace(0.01, 0.05, count, dtype=np.float32),
        z=np.arange(count, dtype=np.int8),
    )
    from cake_onnx.graph.runtime import open_session

    x = draw(5, 4)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    found = convert_graph(model)(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_rounding_passes_the_gradient_and_saturation_stops_it() -> None:
    module = Quantize(torch.tensor(0.5), torch.tensor(0), (-128.0, 127.0), 1)
    x = torch.tensor([0.3, 1.0, 1e4], requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0, 0.0]


def test_blocks_are_declined(parse: Callable[..., ModelProto]) -> None:
    model = parse(
        "g (float[B, 4] x) => (int8[B, 4] y) { y = QuantizeLinear<axis = 1, block_size = 2>(x, s, z) }",
        opset=21,
        s=np.ones((1, 2), dtype=np.float32),
        z=np.zeros((1, 2), dtype=np.int8),
    )
    with pytest.raises(UnsupportedTeacherError, match="blocked quantisation"):
        convert_graph(model)
