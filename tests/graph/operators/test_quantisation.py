from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.operators.quantisation import dynamic_quantize, to_whole
from cake_onnx.graph.runtime import open_session
from tests.graph.operators.whole_numbers import SCALE, ZERO, X, compare_whole

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
    x = draw(5, 4)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    found = convert_graph(model)(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_rounding_passes_the_gradient_and_saturation_stops_it() -> None:
    x = torch.tensor([0.3, 1.0, 1e4], requires_grad=True)
    to_whole(x / 0.5, 0.0, (-128.0, 127.0)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0, 0.0]


def test_infinite_masks_saturate() -> None:
    x = torch.tensor([-torch.inf, -3e38, 1.0], requires_grad=True)
    found = to_whole(x / 0.01, 3.0, (0.0, 255.0))
    found.sum().backward()
    assert found.tolist() == [0.0, 0.0, 103.0]
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("op", ["QuantizeLinear", "DequantizeLinear"])
def test_the_same_operators_of_microsoft(op: str, compare: Compare, draw: Draw) -> None:
    zero = np.array(-3, np.int16)
    if op == "QuantizeLinear":
        compare(op, draw(3, 4), np.array(0.02, np.float32), zero, domain="com.microsoft")
        return
    inputs = [X, SCALE, ZERO]
    compare_whole(op, inputs, shape=(3, 4), scale=0.02, zero=zero, imported=21, close=1e-6)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("block", [2, 3])
def test_blocks(axis: int, block: int, parse: Callable[..., ModelProto], draw: Draw) -> None:
    counts = [4, 6]
    counts[axis] = -(-counts[axis] // block)
    model = parse(
        f"""g (float[4, 6] x) => (float[4, 6] y) {{
             q = QuantizeLinear<axis = {axis}, block_size = {block}>(x, s, z)
             y = DequantizeLinear<axis = {axis}, block_size = {block}>(q, s, z)
        }}""",
        opset=21,
        ir=10,
        s=np.random.default_rng(0).uniform(0.01, 0.05, counts).astype(np.float32),
        z=np.arange(np.prod(counts), dtype=np.int8).reshape(counts),
    )
    same_as_reference(model, draw(4, 6))


CODES = ["INT4", "UINT4", "INT2", "UINT2", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"]


@pytest.mark.parametrize("code", [*CODES, "FLOAT4E2M1"])
def test_narrow_types(code: str, parse: Callable[..., ModelProto], draw: Draw) -> None:
    number = getattr(TensorProto, code)
    model = parse(
        f"""g (float[5, 40] x) => (float[5, 40] y) {{
             q = QuantizeLinear<output_dtype = {number}>(x, s)
             y = DequantizeLinear(q, s)
        }}""",
        opset=25,
        ir=13,
        s=np.array(0.004 if code.startswith("FLOAT8E4") else 0.25, dtype=np.float32),
    )
    same_as_reference(model, draw(5, 40) * 2)


def test_stored_numbers_of_four_bits(parse: Callable[..., ModelProto], draw: Draw) -> None:
    model = parse(
        """g (float[B, 6] x) => (float[B, 6] y) {
             w = DequantizeLinear(q, s, z)
             y = Add(x, w)
        }""",
        opset=21,
        ir=10,
        s=np.linspace(0.1, 0.2, 6, dtype=np.float32),
    )
    model.graph.node[0].attribute.append(helper.make_attribute("axis", 0))
    for name, values in {"q": [-8, -3, 0, 1, 5, 7], "z": [0, 1, -2, 0, 3, 0]}.items():
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT4, [6], values))
    x = draw(3, 6)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(convert_graph(model)(torch.from_numpy(x)).numpy(), wanted, rtol=1e-6)


def same_as_reference(model: ModelProto, x: Any) -> None:
    """onnxruntime does not have all of these types; onnx's own reference does."""
    results: Any = ReferenceEvaluator(model).run(None, {"x": x})
    point = torch.from_numpy(x).requires_grad_()
    found = convert_graph(model)(point)
    np.testing.assert_allclose(found.detach().numpy(), results[0], rtol=1e-6, atol=1e-6)
    (slope,) = torch.autograd.grad(found.square().sum(), point)
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0


@pytest.mark.parametrize("shift", [-100.0, 0.0, 100.0])
def test_the_range_of_the_tensor_itself(shift: float, parse: Callable[..., ModelProto], draw: Draw) -> None:
    model = parse(
        """g (float[B, 30] x) => (float[B, 30] y) {
             q, s, z = DynamicQuantizeLinear(x)
             y = DequantizeLinear(q, s, z)
        }"""
    )
    x = draw(6, 30) + np.float32(shift)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    module = convert_graph(model)
    point = torch.from_numpy(x).requires_grad_()
    found = module(point)
    np.testing.assert_array_equal(found.detach().numpy(), wanted)
    (slope,) = torch.autograd.grad(found.sum(), point)
    # There and back is a straight line but for the rounding, and for the ends, which may saturate.
    assert torch.minimum((slope - 1).abs(), slope.abs()).max() < 1e-5
    assert slope.mean() > 0.9
    mapped = torch.vmap(lambda one: module(one.unsqueeze(0)).squeeze(0))(point.detach())
    single = torch.cat([module(row) for row in point.detach().split(1)])
    assert torch.equal(mapped, single)


def test_a_tensor_of_zeros_has_a_range() -> None:
    whole, scale, zero = dynamic_quantize(torch.zeros(3, 4))
    assert whole.eq(0).all()
    assert (scale.item(), zero.item()) == (1.0, 0.0)


def test_other_results_are_declined(parse: Callable[..., ModelProto]) -> None:
    model = parse(
        "g (float[B, 4] x) => (int32[B, 4] y) { y = QuantizeLinear(x, s, z) }",
        s=np.array(1, dtype=np.float32),
        z=np.array(0, dtype=np.int32),
    )
    with pytest.raises(UnsupportedTeacherError, match="quantisation to int32"):
        convert_graph(model)
