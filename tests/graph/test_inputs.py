from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.inputs import find_data_input

Parse = Callable[..., ModelProto]


def _net(declared: str) -> str:
    return f"g ({declared}) => (float[B, 3] y) {{ y = Identity(x) }}"


@pytest.mark.parametrize(
    ("declared", "shape", "dtype", "layout"),
    [
        ("float[B, 7] x", (7,), "float32", "flat"),
        ("double[5, 7] x", (7,), "float64", "flat"),
        ("float16[B, 3, 8, 8] x", (3, 8, 8), "float16", "NCHW"),
        ("uint8[B, 8, 8, 3] x", (8, 8, 3), "uint8", "NHWC"),
        ("int32[B, 1, 8, 8] x", (1, 8, 8), "int32", "NCHW"),
        ("float[B, 10, 4] x", (10, 4), "float32", "flat"),
        ("float[B, 8, 9, 10] x", (8, 9, 10), "float32", "flat"),
    ],
)
def test_shape_type_and_layout(
    declared: str, shape: tuple[int, ...], dtype: str, layout: str, parse: Parse
) -> None:
    found = find_data_input(parse(_net(declared)).graph)
    assert (found.shape, found.dtype, found.layout) == (shape, dtype, layout)


def test_what_the_graph_does_decides_the_layout(parse: Parse, draw: Callable[..., Any]) -> None:
    nhwc = "g (float[B, 3, 3, 3] x) => (float y) { s = Sub(x, m)\n y = Transpose<perm = [0, 3, 1, 2]>(s) }"
    nchw = "g (float[B, 16, 8, 8] x) => (float y) { y = Conv(x, m) }"
    assert find_data_input(parse(nhwc, m=draw(3)).graph).layout == "NHWC"
    assert find_data_input(parse(nchw, m=draw(2, 16, 1, 1)).graph).layout == "NCHW"


def test_unknown_feature_counts_are_read_off_the_first_weights(
    parse: Parse, draw: Callable[..., Any]
) -> None:
    plain = "g (float[B, F] x) => (float y) { y = MatMul(x, w) }"
    turned = "g (float[] x) => (float y) { y = Gemm<transB = 1>(x, w) }"
    assert find_data_input(parse(plain, w=draw(6, 3)).graph).shape == (6,)
    assert find_data_input(parse(turned, w=draw(3, 6)).graph).shape == (6,)


def test_whole_numbers_that_are_weighed_are_features(parse: Parse, draw: Callable[..., Any]) -> None:
    text = "g (int64[B, 6] x) => (float y) { f = Cast<to = 1>(x)\n y = MatMul(f, w) }"
    found = find_data_input(parse(text, w=draw(6, 3)).graph)
    assert (found.shape, found.dtype, found.layout) == ((6,), "int64", "flat")


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("float[B, 2] x, float[B, 3] z", r"found 2: 'x' \(float32\), 'z' \(float32\)"),
        ("float[B, 1] x, float[B, 1] y1, float[B] y2", "columns of one table"),
        ("bfloat16[B, 2] x", "float32"),
        ("string[B, 2] x", r"'x' \(string\)"),
        ("bool[B, 2] x", r"'x' \(bool\)"),
        ("int64[B, 16] x", "tokens"),
        ("float[] x", "without any shape"),
        ("float[4] x", "batch axis in front"),
        ("float[B, 3, H, W] x", r"\[B, 3, H, W\]"),
        ("float[B, 3, 0, 8] x", "size 1 or more"),
        ("float[0, 8] x", "size 1 or more"),
        ("", "without inputs"),
    ],
)
def test_other_inputs_are_refused(declared: str, words: str, parse: Parse) -> None:
    model = parse(_net(declared))
    with pytest.raises(UnsupportedTeacherError, match=words):
        find_data_input(model.graph)
