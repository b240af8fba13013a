from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize("to", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_cast_to_floats(to: int, compare: Compare, draw: Draw) -> None:
    compare("Cast", draw(3, 4), to=to)


@pytest.mark.parametrize("to", [TensorProto.INT32, TensorProto.INT64, TensorProto.INT8])
@pytest.mark.parametrize("opset", [9, 13, 19, 21])
def test_cast_to_integers_truncates_and_passes_a_gradient(
    to: int, opset: int, compare: Compare, draw: Draw
) -> None:
    compare("Cast", draw(3, 4) * 5, to=to, opset=opset)


def test_cast_to_truth(compare: Compare) -> None:
    x = np.array([[0.0, -0.5, 2.0]], dtype=np.float32)
    assert compare("Cast", x, to=TensorProto.BOOL, gradient=False).tolist() == [[False, True, True]]


def test_cast_like(compare: Compare, draw: Draw) -> None:
    compare("CastLike", draw(3, 4) * 5, np.array([1], dtype=np.int32), opset=15)
    compare("CastLike", draw(3, 4), np.array([1], dtype=np.float32), opset=19)


@pytest.mark.parametrize("to", [TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16])
def test_numbers_out_of_range_keep_their_lowest_bits(
    to: int, compare: Compare, parse: Callable[..., ModelProto]
) -> None:
    model = parse(
        f"""g (float[B, 4] x) => (float[B, 4] y) {{
          i = Cast<to = 6>(x)
          k = Cast<to = {to}>(i)
          y = Cast<to = 1>(k)
        }}"""
    )
    x = np.array([[300.7, -1.5, -70000.0, 127.9]], dtype=np.float32)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    assert convert_graph(model)(torch.from_numpy(x)).tolist() == wanted.tolist()


def test_integers_are_cut_too(parse: Callable[..., ModelProto]) -> None:
    text = "g (int64[B, 2] x) => (uint8[B, 2] y) { y = Cast<to = 2>(x) }"
    assert convert_graph(parse(text))(torch.tensor([[300, -1]])).tolist() == [[44, 255]]


def test_version_1_names_the_type(parse: Callable[..., ModelProto]) -> None:
    text = 'g (float[B, 2] x) => (int32[B, 2] y) { y = Cast<to = "INT32">(x) }'
    assert convert_graph(parse(text, opset=1))(torch.tensor([[1.7, -1.7]])).tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize("to", ["STRING", "FLOAT8E4M3FN", "INT4", "COMPLEX64"])
def test_what_cannot_be_carried_is_declined(to: str, parse: Callable[..., ModelProto]) -> None:
    text = f"g (float[B, 2] x) => (float[B, 2] y) {{ y = Cast<to = {TensorProto.DataType.Value(to)}>(x) }}"
    with pytest.raises(UnsupportedTeacherError, match=f"Cast to {to.lower()}"):
        convert_graph(parse(text, opset=21))


def test_cast_like_a_computed_tensor(parse: Callable[..., ModelProto]) -> None:
    for made, wanted in (
        ("Shape(x)", [[1.0, -1.0]]),
        ("Greater(x, x)", [[True, True]]),
        ("Neg(x)", [[1.5, -1.5]]),
    ):
        text = f"g (float[B, 2] x) => (float[B, 2] y) {{ m = {made}\n y = CastLike(x, m) }}"
        assert convert_graph(parse(text))(torch.tensor([[1.5, -1.5]])).tolist() == wanted
