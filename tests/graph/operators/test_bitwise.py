from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

TYPES = {2: np.uint8, 3: np.int8, 6: np.int32, 12: np.uint32}
SHIFTS = ['BitShift<direction = "LEFT">(i, c)', 'BitShift<direction = "RIGHT">(i, c)']


def _model(parse: Callable[..., ModelProto], node: str, type_code: int) -> ModelProto:
    return parse(
        f"""g (float[B, 4] x) => (float[B, 4] y) {{
          i = Cast<to = {type_code}>(x)
          r = {node}
          y = Cast<to = 1>(r)
        }}""",
        opset=18,
        c=np.array([3, 2, 5, 7], dtype=TYPES.get(type_code, np.uint64)),
    )


@pytest.mark.parametrize(
    ("node", "type_code"),
    [
        *((f"Bitwise{op}(i, c)", code) for op in ("And", "Or", "Xor") for code in TYPES),
        *(("BitwiseNot(i)", code) for code in TYPES),
        *((shift, code) for shift in SHIFTS for code in (2, 12)),
    ],
)
def test_as_in_onnxruntime(node: str, type_code: int, parse: Callable[..., ModelProto]) -> None:
    model = _model(parse, node, type_code)
    x = np.array([[0.0, 1.5, 77.0, 100.0], [8.0, 3.0, 2.0, 127.0]], dtype=np.float32)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    module = convert_graph(model)
    assert module(torch.from_numpy(x)).tolist() == wanted.tolist()
    assert torch.vmap(lambda one: module(one[None])[0])(torch.from_numpy(x)).tolist() == wanted.tolist()


def test_integers_keep_their_type(parse: Callable[..., ModelProto]) -> None:
    text = "g (uint8[B, 2] x) => (uint8[B, 2] y) { y = BitwiseNot(x) }"
    found = convert_graph(parse(text, opset=18))(torch.tensor([[0, 200]], dtype=torch.uint8))
    assert found.dtype == torch.uint8
    assert found.tolist() == [[255, 55]]


def test_bits_that_torch_does_not_have_are_declined(parse: Callable[..., ModelProto]) -> None:
    with pytest.raises(UnsupportedTeacherError, match="64-bit"):
        convert_graph(_model(parse, SHIFTS[0], 13))
