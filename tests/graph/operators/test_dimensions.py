from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.operators.dimensions import WithNumbers, numbers, whole_numbers


def test_whole_numbers_may_be_held_in_floats() -> None:
    found = whole_numbers(torch.tensor([[2.0, -1.0]]))
    assert found == [2, -1]
    assert all(isinstance(value, int) for value in found)
    assert whole_numbers(torch.tensor(3)) == [3]
    assert numbers(torch.tensor([0.7])) == [float(np.float32(0.7))]


def test_the_last_inputs_are_read() -> None:
    module = WithNumbers(
        lambda x, sizes, factor: x.reshape(sizes) * factor, {"sizes": whole_numbers}, {"factor": 2}
    )
    assert module(torch.ones(4), torch.tensor([2, 2])).tolist() == [[2, 2], [2, 2]]
    assert "factor=2, sizes=..." in repr(module)


def test_an_input_that_must_be_there(parse: Callable[..., Any]) -> None:
    model = parse("g (float[B, 3] x) => (float[B, 3] y) { y = OneHot(x, depth, ) }", depth=np.array(3))
    with pytest.raises(UnsupportedTeacherError, match="OneHot without an input that it needs"):
        convert_graph(model)
