from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, parser

from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

Compare = Callable[..., Any]
Draw = Callable[..., Any]

FAMILY = ["Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[1], [-1, 1], [0, 2], None])
def test_both_spellings(name: str, keep: int, axes: list[int] | None, compare: Compare, draw: Draw) -> None:
    x = np.abs(draw(2, 3, 4)) + 0.1 if name == "LogSum" else draw(2, 3, 4)
    older = {"keepdims": keep} | ({} if axes is None else {"axes": axes})
    compare(f"Reduce{name}", x, opset=11, **older)
    stored = [] if axes is None else [np.array(axes, dtype=np.int64)]
    compare(f"Reduce{name}", x, *stored, opset=18, keepdims=keep)


def test_no_axes_may_mean_no_reduction(compare: Compare, draw: Draw) -> None:
    x = draw(2, 3)
    none = np.array([], dtype=np.int64)
    assert compare("ReduceMean", x, none, opset=18, noop_with_empty_axes=1).shape == (2, 3)
    assert compare("ReduceMean", x, none, opset=18, noop_with_empty_axes=0).shape == (1, 1)


def test_the_length_of_a_zero_vector_has_a_gradient() -> None:
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 13]>
        g (float[B, 3] x) => (float[B] y) { y = ReduceL2<axes = [1], keepdims = 0>(x) }"""
    )
    x = torch.zeros(1, 3, requires_grad=True)
    convert_graph(model)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_no_axes_still_take_the_value_of_each(compare: Compare, draw: Draw) -> None:
    x = draw(2, 3)
    for name in FAMILY:
        compare(f"Reduce{name}", np.abs(x) if name == "LogSum" else x, opset=18, noop_with_empty_axes=1)


@pytest.mark.parametrize("name", FAMILY)
def test_it_can_be_mapped_over_a_batch(name: str, draw: Draw, mapped: Callable[..., None]) -> None:
    mapped(f"Reduce{name}", np.abs(draw(2, 3, 4)), opset=11, axes=[-1])


@pytest.mark.parametrize("name", ["Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare"])
def test_whole_numbers_carried_as_floats(name: str, parse: Callable[..., ModelProto], draw: Draw) -> None:
    text = f"""g (float[B, 4] x) => (float[B, 1] y) {{
      i = Cast<to = 6>(x)
      r = Reduce{name}<axes = [1]>(i)
      y = Cast<to = 1>(r)
    }}"""
    if name == "Sum":
        text = text.replace("<axes = [1]>(i)", "(i, axes)")
    model = parse(text, opset=13, axes=np.array([1], dtype=np.int64))
    x = draw(6, 4) * 9
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    point = torch.from_numpy(x).requires_grad_()
    found = convert_graph(model)(point)
    assert found.tolist() == wanted.tolist()
    found.sum().backward()
    assert point.grad is not None
    assert point.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("op", "dtype", "wanted"),
    [
        ("ReduceMax", torch.float32, -torch.inf),
        ("ReduceMin", torch.float32, torch.inf),
        ("ReduceMax", torch.int32, -(2**31)),
        ("ReduceMin", torch.int32, 2**31 - 1),
        ("ReduceMax", torch.bool, False),
        ("ReduceMin", torch.bool, True),
        ("ReduceSum", torch.int32, 0),
        ("ReduceProd", torch.float32, 1),
    ],
)
def test_of_nothing(op: str, dtype: torch.dtype, wanted: float, parse: Callable[..., ModelProto]) -> None:
    name = str(dtype).removeprefix("torch.").replace("float32", "float")
    text = f"g ({name}[2, 0, 3] x) => ({name}[2, 1, 3] y) {{ y = {op}(x, axes) }}"
    module = convert_graph(parse(text, opset=20, axes=np.array([1], dtype=np.int64)))
    found = module(torch.zeros(2, 0, 3, dtype=dtype))
    assert found.dtype == dtype
    assert found.shape == (2, 1, 3)
    assert set(found.reshape(-1).tolist()) == {wanted}
