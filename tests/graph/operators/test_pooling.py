from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.operators.registry import MICROSOFT
from cake_onnx.graph.runtime import open_session
from tests.graph.operators.conftest import node_model

Compare = Callable[..., Any]
Draw = Callable[..., Any]

WINDOWS: list[dict[str, Any]] = [
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 2, 0]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "VALID", "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "pads": [2, 2, 2, 2]},
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("opset", [8, 12, 22])
def test_max_pool(window: dict[str, Any], opset: int, compare: Compare, draw: Draw) -> None:
    compare("MaxPool", draw(2, 3, 7, 8), opset=opset, **window)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("with_pad", [0, 1])
def test_average_pool(window: dict[str, Any], with_pad: int, compare: Compare, draw: Draw) -> None:
    for opset in (7, 11, 19, 22):
        compare("AveragePool", draw(2, 3, 7, 8), opset=opset, count_include_pad=with_pad, **window)


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
@pytest.mark.parametrize("size", [7, 8, 9])
def test_ceil_mode(pads: list[int], size: int, compare: Compare, draw: Draw) -> None:
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads, "ceil_mode": 1}
    compare("MaxPool", draw(2, 3, size, size), opset=12, **window)
    for with_pad in (0, 1):
        compare("AveragePool", draw(2, 3, size, size), opset=19, count_include_pad=with_pad, **window)


def test_a_window_that_would_begin_in_the_padding_is_dropped(compare: Compare, draw: Draw) -> None:
    window = {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}
    assert compare("MaxPool", draw(2, 3, 5, 5), opset=12, **window).shape == (2, 3, 2, 2)
    compare("AveragePool", draw(2, 3, 5, 5), opset=19, **window)


def test_dilated_and_other_ranks(compare: Compare, draw: Draw) -> None:
    compare("MaxPool", draw(2, 3, 9, 9), opset=12, kernel_shape=[2, 2], dilations=[2, 3])
    compare("MaxPool", draw(2, 3, 9), opset=12, kernel_shape=[3], strides=[2])
    compare("AveragePool", draw(2, 3, 4, 4, 4), opset=12, kernel_shape=[2, 2, 2])


def test_global_pools(compare: Compare, draw: Draw) -> None:
    for shape in ((2, 3, 5), (2, 3, 5, 4)):
        compare("GlobalAveragePool", draw(*shape), opset=22)
        compare("GlobalMaxPool", draw(*shape))


@pytest.mark.parametrize("window", [{}, {"pads": [1, 0, 1, 1]}, {"strides": [2, 2], "ceil_mode": 1}])
@pytest.mark.parametrize("with_pad", [0, 1])
def test_an_average_with_gaps(window: dict[str, Any], with_pad: int, compare: Compare, draw: Draw) -> None:
    options = {"kernel_shape": [3, 2], "dilations": [2, 3], "count_include_pad": with_pad, **window}
    compare("AveragePool", draw(2, 3, 9, 10), opset=19, **options)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
def test_gaps_with_automatic_padding_are_refused(op: str, draw: Draw) -> None:
    attributes = {"kernel_shape": [3, 3], "dilations": [2, 2], "auto_pad": "SAME_UPPER"}
    model = node_model(op, [], opset=19, domain="", outputs=1, shape=(1, 1, 9, 9), attributes=attributes)
    with pytest.raises(UnsupportedTeacherError, match="dilations and auto_pad"):
        convert_graph(model)


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_bytes(kind: str, parse: Callable[..., ModelProto]) -> None:
    call = "MaxPool<kernel_shape = [3, 3], pads = [0, 1, 1, 0]>"
    model = parse(f"g ({kind}[B, 1, 4, 4] x) => ({kind} y) {{ y = {call}(x) }}")
    x = np.random.default_rng(0).integers(0, 100, (2, 1, 4, 4)).astype(kind)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(convert_graph(model)(torch.from_numpy(x)).numpy(), wanted)


def test_channels_last(draw: Draw) -> None:
    attributes = {"kernel_shape": [2, 2], "strides": [2, 1], "pads": [0, 1, 0, 0]}
    model = node_model(
        "NhwcMaxPool", [], opset=17, domain=MICROSOFT, outputs=1, shape=(2, 4, 5, 3), attributes=attributes
    )
    model.graph.input[0].type.tensor_type.elem_type = 3  # int8
    x = np.round(draw(2, 4, 5, 3) * 40)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x.astype(np.int8)})[0]
    np.testing.assert_array_equal(convert_graph(model)(torch.from_numpy(x)).numpy(), wanted)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_one_sample_at_a_time(op: str, draw: Draw) -> None:
    attributes = {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}
    model = node_model(op, [], opset=19, domain="", outputs=1, shape=(2, 3, 6, 6), attributes=attributes)
    module, x = convert_graph(model), torch.from_numpy(draw(2, 3, 6, 6))
    mapped = torch.vmap(lambda one: module(one.unsqueeze(0)).squeeze(0))(x)
    torch.testing.assert_close(mapped, module(x))
