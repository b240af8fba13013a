from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

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
    import torch
    from onnx import parser

    from cake_onnx.graph.convert import convert_graph

    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 13]>
        g (float[B, 3] x) => (float[B] y) { y = ReduceL2<axes = [1], keepdims = 0>(x) }"""
    )
    x = torch.zeros(1, 3, requires_grad=True)
    convert_graph(model)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
