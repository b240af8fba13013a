from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.trainable import TrainableGraph, learning_weights, untie

Parse = Callable[..., ModelProto]


@pytest.fixture
def net(parse: Parse, draw: Callable[..., Any]) -> ModelProto:
    """Scaled input, a weight behind a Gemm that turns it, a bias by itself, one matrix read twice."""
    return parse(
        """net (float[B, 4] x) => (float[B, 3] y) {
             s = Sub(x, mean)
             h = Gemm<transB = 1>(s, w1, b1)
             a = Relu(h)
             d = MatMul(a, w2)
             e = MatMul(d, w2)
             y = MatMul(e, w3)
        }""",
        mean=draw(4),
        w1=draw(8, 4),
        b1=draw(8),
        w2=draw(8, 8),
        w3=draw(8, 3),
    )


def test_it_computes_what_the_graph_computes(net: ModelProto, draw: Callable[..., Any]) -> None:
    x = draw(5, 4)
    wanted = open_session(net.SerializeToString()).run(None, {"x": x})[0]
    found = TrainableGraph(net, "identity")(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_all_weights_learn_and_the_scaling_of_the_input_does_not(net: ModelProto) -> None:
    graph = TrainableGraph(net, "identity")
    total = sum(weight.numel() for weight in graph.parameters())
    assert total == 8 * 4 + 8 + 2 * 8 * 8 + 8 * 3
    assert len(graph.weights()) == 5
    assert "mean" not in learning_weights(net)
    logits = graph(torch.randn(3, 4))
    slopes = torch.autograd.grad(logits.square().sum(), list(graph.weights().values()))
    assert all(bool(slope.abs().sum() > 0) for slope in slopes)


def test_what_was_learnt_is_in_the_graph(net: ModelProto, draw: Callable[..., Any]) -> None:
    graph = TrainableGraph(net, "identity")
    optimiser = torch.optim.SGD(graph.parameters(), lr=1e-3)
    x = torch.from_numpy(draw(6, 4))
    before = graph(x).detach()
    graph(x).square().mean().backward()
    optimiser.step()
    after = graph(x).detach().numpy()
    written = open_session(graph.model().SerializeToString()).run(None, {"x": x.numpy()})[0]
    np.testing.assert_allclose(written, after, rtol=1e-4, atol=1e-4)
    assert not np.allclose(written, before.numpy(), rtol=1e-3)


def test_tensors_go_to_initializers_and_back(net: ModelProto) -> None:
    graph = TrainableGraph(net, "identity")
    tensors = {name: torch.randn_like(weight) for name, weight in graph.weights().items()}
    back = graph.from_initializers(graph.to_initializers(tensors))
    assert all(torch.equal(tensors[name], back[name]) for name in tensors)


def test_a_weight_read_twice_becomes_two(net: ModelProto) -> None:
    apart = untie(net)
    names = [node.input[1] for node in apart.graph.node if node.op_type == "MatMul"]
    assert len(set(names)) == 3
    assert untie(apart) == apart


def test_training_mode_is_evaluation_mode(net: ModelProto) -> None:
    assert not any(module.training for module in TrainableGraph(net, "identity").train().modules())


def test_a_graph_without_weights_is_refused(parse: Parse) -> None:
    with pytest.raises(UnsupportedTeacherError, match="none that can learn"):
        TrainableGraph(parse("g (float[B, 3] x) => (float[B, 3] y) { y = Relu(x) }"), "identity")
