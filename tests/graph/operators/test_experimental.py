from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize("op", ["Affine", "ScaledTanh", "ParametricSoftplus"])
def test_two_constants(op: str, compare: Compare, draw: Draw, parse: Callable[..., ModelProto]) -> None:
    compare(op, draw(2, 3), opset=9, alpha=0.7, beta=1.3)
    with pytest.raises(UnsupportedTeacherError, match="without beta"):
        convert_graph(parse(f"g (float[B, 3] x) => (float[B, 3] y) {{ y = {op}<alpha = 1.0>(x) }}", opset=9))


def test_scales(compare: Compare, draw: Draw, mapped: Callable[..., None]) -> None:
    compare("Scale", draw(2, 3), opset=9, scale=3.0)
    compare("ImageScaler", draw(2, 3, 4, 4), opset=9, bias=[1.0, 2.0, 3.0], scale=0.3)
    mapped("ImageScaler", draw(2, 3, 4, 4), opset=9, bias=[1.0, 2.0, 3.0], scale=0.3)


def test_crop(compare: Compare, draw: Draw) -> None:
    compare("Crop", draw(2, 3, 5, 6), opset=9, border=[0, 1, 2, 1])
    compare("Crop", draw(2, 3, 5, 6), opset=9, border=[1, 2, 0, 0], scale=[2, 3])


def test_thresholded_relu_of_old(compare: Compare, draw: Draw) -> None:
    compare("ThresholdedRelu", draw(2, 3), opset=9, alpha=0.2)
