from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.operators.normalisation import BatchNorm

Compare = Callable[..., Any]
Draw = Callable[..., Any]


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("opset", [7, 9, 14, 15])
def test_batch_normalization(shape: tuple[int, ...], opset: int, compare: Compare, draw: Draw) -> None:
    variance = np.abs(draw(3)) + 0.5
    compare(
        "BatchNormalization", draw(*shape), draw(3), draw(3), draw(3), variance, opset=opset, epsilon=1e-3
    )


def test_stored_statistics_can_be_read(parse: Callable[..., ModelProto], draw: Draw) -> None:
    model = parse(
        "g (float[B, 3] x) => (float[B, 3] y) { y = BatchNormalization(x, s, b, m, v) }",
        s=draw(3),
        b=draw(3),
        m=draw(3),
        v=np.ones(3, dtype=np.float32),
    )
    layers = [module for module in convert_graph(model).modules() if isinstance(module, BatchNorm)]
    np.testing.assert_array_equal(layers[0].running_mean.numpy(), draw(3))


def test_computed_statistics_pass_a_gradient(parse: Callable[..., ModelProto], draw: Draw) -> None:
    # A layer normalisation as tf2onnx writes it.
    model = parse(
        """g (float[1, 3, 4] x) => (float[1, 3, 4] y) {
             m = ReduceMean<axes = [0, 2], keepdims = 0>(x)
             c = Mul(m, m)
             y = BatchNormalization(x, s, b, m, c)
        }""",
        s=np.ones(3, dtype=np.float32),
        b=np.zeros(3, dtype=np.float32),
    )
    x = torch.from_numpy(draw(1, 3, 4)).requires_grad_()
    mean = x.mean(dim=(0, 2)).reshape(1, 3, 1)
    wanted = (x - mean) / (mean.square() + 1e-5).sqrt()
    found = convert_graph(model)(x)
    torch.testing.assert_close(found, wanted)
    weights = torch.arange(12.0).reshape(1, 3, 4)
    (ours,) = torch.autograd.grad((found * weights).sum(), x)
    (theirs,) = torch.autograd.grad((wanted * weights).sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_statistics_of_every_element(compare: Compare, draw: Draw) -> None:
    stored = (draw(3, 4), draw(3, 4), draw(3, 4), np.abs(draw(3, 4)) + 0.5)
    compare("BatchNormalization", draw(2, 3, 4), *stored, opset=7, spatial=0)


def test_statistics_of_the_batch(parse: Callable[..., ModelProto], draw: Draw) -> None:
    # Not compared with onnxruntime, whose result depends on whether somebody reads the new statistics.
    text = """g (float[B, 3, 5] x) => (float y) {
        y, m1, v1 = BatchNormalization<training_mode = 1, epsilon = 0.1>(x, s, b, m, v)
    }"""
    weights = {name: draw(3) for name in "sbmv"}
    x = torch.from_numpy(draw(4, 3, 5))
    scale = torch.from_numpy(draw(3))
    wanted = torch.nn.functional.batch_norm(x, None, None, scale, scale, training=True, eps=0.1)
    torch.testing.assert_close(convert_graph(parse(text, **weights))(x), wanted)


@pytest.mark.parametrize("opset", [7, 22])
def test_instance_normalization(opset: int, compare: Compare, draw: Draw) -> None:
    compare("InstanceNormalization", draw(2, 3, 4, 5), draw(3), draw(3), opset=opset)
    # One element has no variance; the gradient is zero there, rightly.
    compare("InstanceNormalization", draw(2, 3, 1), draw(3), draw(3), opset=opset, gradient=False)


@pytest.mark.parametrize("attributes", [{}, {"across_channels": 1}, {"normalize_variance": 0}])
def test_mean_variance_normalization_of_old(attributes: dict[str, int], compare: Compare, draw: Draw) -> None:
    compare("MeanVarianceNormalization", draw(2, 3, 4, 5), opset=8, **attributes)


@pytest.mark.parametrize("opset", [9, 13])
def test_mean_variance_normalization(opset: int, compare: Compare, draw: Draw) -> None:
    compare("MeanVarianceNormalization", draw(2, 3, 4, 5), opset=opset)
    compare("MeanVarianceNormalization", draw(2, 3, 4, 5), opset=opset, axes=[1, 2, 3])


def test_a_constant_sample_has_a_finite_gradient(parse: Callable[..., ModelProto]) -> None:
    text = "g (float[B, 2, 4] x) => (float y) { y = MeanVarianceNormalization<axes = [1, 2]>(x) }"
    x = torch.ones(1, 2, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(convert_graph(parse(text))(x).sum(), x)
    assert slope.isfinite().all()


@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_local_response_normalization(size: int, compare: Compare, draw: Draw) -> None:
    for opset in (1, 13):
        compare("LRN", draw(2, 5, 3, 4), opset=opset, size=size, alpha=0.3, beta=0.6, bias=1.5)


def test_an_even_number_of_neighbours(parse: Callable[..., ModelProto], draw: Draw) -> None:
    # onnxruntime takes odd sizes only; by the specification the longer side is the later one.
    text = "g (float[B, 4, 2] x) => (float y) { y = LRN<size = 2, alpha = 0.5>(x) }"
    x = torch.from_numpy(draw(1, 4, 2))
    pairs = (x.square() + torch.cat([x[:, 1:].square(), torch.zeros(1, 1, 2)], dim=1)) / 2
    torch.testing.assert_close(convert_graph(parse(text))(x), x / (1 + 0.5 * pairs).pow(0.75))
