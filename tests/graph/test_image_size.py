from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.inputs import find_data_input

Parse = Callable[..., ModelProto]
Draw = Callable[..., Any]

NET = "c = Conv<strides = [2, 2]>({x}, k)\n f = Flatten(c)\n y = Gemm(f, w)"


@pytest.mark.parametrize("declared", ["float[B, 3, H, W] x", "float[B, 3, 28, W] x", "float[] x"])
def test_the_size_that_the_weights_fit_to(declared: str, parse: Parse, draw: Draw) -> None:
    model = parse(
        f"g ({declared}) => (float[B, 5] y) {{ {NET.format(x='x')} }}", k=draw(2, 3, 3, 3), w=draw(338, 5)
    )
    found = find_data_input(model.graph, model.opset_import)
    assert (found.shape, found.layout) == ((3, 28, 28), "NCHW")


def test_channels_last(parse: Parse, draw: Draw) -> None:
    nodes = "t = Transpose<perm = [0, 3, 1, 2]>(x)\n" + NET.format(x="t")
    model = parse(
        f"g (float[B, H, W, 3] x) => (float[B, 5] y) {{ {nodes} }}", k=draw(2, 3, 3, 3), w=draw(338, 5)
    )
    assert find_data_input(model.graph, model.opset_import).shape == (28, 28, 3)


@pytest.mark.parametrize("last", ["p = GlobalAveragePool(c)\n y = Flatten(p)", "y = Relu(c)"])
def test_a_graph_that_fits_to_every_size_is_refused(last: str, parse: Parse, draw: Draw) -> None:
    model = parse(f"g (float[B, 3, H, W] x) => (float y) {{ c = Conv(x, k)\n {last} }}", k=draw(2, 3, 3, 3))
    with pytest.raises(UnsupportedTeacherError, match="make_dynamic_shape_fixed --input_name x"):
        find_data_input(model.graph, model.opset_import)
