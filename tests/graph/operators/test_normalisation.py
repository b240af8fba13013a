from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.operators.normalisation import FrozenBatchNorm

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
    layers = [module for module in convert_graph(model).modules() if isinstance(module, FrozenBatchNorm)]
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


def test_layer_normalization(compare: Compare, draw: Draw) -> None:
    compare("LayerNormalization", draw(2, 3, 4), draw(4), draw(4))
    compare("LayerNormalization", draw(2, 3, 4), draw(4), epsilon=1e-3)
    compare("LayerNormalization", draw(2, 3, 4), draw(3, 4), draw(3, 4), axis=1)
    compare("LayerNormalization", draw(2, 3, 4), draw(4), draw(4), axis=-1, outputs=1)


def test_group_normalization(compare: Compare, draw: Draw) -> None:
    compare("GroupNormalization", draw(2, 4, 5), draw(4), draw(4), opset=21, num_groups=2)


@pytest.mark.parametrize("opset", [7, 22])
def test_instance_normalization(opset: int, compare: Compare, draw: Draw) -> None:
    compare("InstanceNormalization", draw(2, 3, 4, 5), draw(3), draw(3), opset=opset)
