"""Batch normalisation that a student learns with, and that its file does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.graph.added_norms import ADDED, add_norms, fold_norms
from cake_onnx.graph.channels.observe import observe
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.graph.trainable import TrainableGraph, count_weights

Parse = Callable[..., ModelProto]
SPEC = InputSpec("x", (2, 9, 9), "float32", "NCHW", Bounds((0.0,), (1.0,), "test", assumed=False))
NORMALISED = {"a", "d", "k", "i", "l"}


@pytest.fixture
def net(parse: Parse, draw: Callable[..., Any]) -> ModelProto:
    """Five plain convolutions; one without bias, one that has a norm, one on one position, one that cuts."""
    return parse(
        """net (float[B, 2, 9, 9] x) => (float[B, 3] y) {
             a = Conv(x, w1, b1)
             r = Relu(a)
             b = Conv(r, w2)
             n = Conv(b, w3, b3)
             c = BatchNormalization(n, s, t, m, v)
             d = Conv<strides = [2, 2]>(c, w4, b4)
             q = Relu(d)
             p = GlobalAveragePool(q)
             g = Conv(p, w5, b5)
             e = Mul(q, g)
             k = Conv(e, w6, b6)
             h = Relu(k)
             i = Conv(h, w8, b6)
             j = Add(i, h)
             l = Conv(j, w8, b6)
             o = Relu(l)
             u = Conv(o, w8, b6)
             f = Flatten(u)
             y = MatMul(f, w7)
        }""",
        w1=draw(4, 2, 3, 3), b1=draw(4), w2=draw(4, 4, 1, 1), w3=draw(4, 4, 1, 1), b3=draw(4),
        s=draw(4), t=draw(4), m=draw(4), v=np.abs(draw(4)) + 1,
        w4=draw(4, 4, 3, 3), b4=draw(4), w5=draw(4, 4, 1, 1), b5=draw(4), w6=draw(2, 4, 1, 1), b6=draw(2),
        w7=draw(18, 3), w8=draw(2, 2, 1, 1),
    )  # fmt: skip


def outputs_of_norms(model: ModelProto) -> set[str]:
    return {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "BatchNormalization" and node.input[1].startswith(ADDED)
    }


def says(model: ModelProto, x: Any) -> Any:
    return open_session(model.SerializeToString()).run(None, {"x": x})[0]


def learning(net: ModelProto) -> TrainableGraph:
    return TrainableGraph(add_norms(net, observe(net, SPEC).shapes), "identity")


def test_they_are_where_exporters_may_have_folded_one(net: ModelProto, draw: Callable[..., Any]) -> None:
    added = add_norms(net, observe(net, SPEC).shapes)
    assert outputs_of_norms(added) == NORMALISED
    x = draw(5, 2, 9, 9)
    np.testing.assert_allclose(says(added, x), says(net, x), rtol=1e-4, atol=1e-4)


def test_they_learn_the_statistics_of_the_batch_and_are_folded_away(
    net: ModelProto, draw: Callable[..., Any]
) -> None:
    student, x = learning(net), torch.from_numpy(draw(20, 2, 9, 9))
    before = student(x).detach()
    student.calibrate(x)
    torch.testing.assert_close(student(x).detach(), before, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(student.train()(x).detach(), before, rtol=1e-3, atol=1e-3)
    for _ in range(3):
        student(3 * x + 1)
    with torch.no_grad():
        for weight in student.weights().values():
            weight.mul_(1.1)
    now = student.eval()(x).detach()
    assert float((now - before).abs().max()) > 0.1
    folded = fold_norms(student.model())
    assert not outputs_of_norms(folded)
    assert [node.op_type for node in folded.graph.node] == [node.op_type for node in net.graph.node]
    assert not [t.name for t in folded.graph.initializer if t.name.startswith(ADDED)]
    np.testing.assert_allclose(says(folded, x.numpy()), now.numpy(), rtol=1e-3, atol=1e-3)


def test_a_few_convolutions_gain_nothing(net: ModelProto) -> None:
    shapes = observe(net, SPEC).shapes
    for node in net.graph.node:
        if node.output[0] == "u":
            node.input[0] = "h"
    for name in ("o", "l", "j", "i"):
        net.graph.node.remove(next(node for node in net.graph.node if node.output[0] == name))
    assert not outputs_of_norms(add_norms(net, shapes))


def test_they_do_not_count(net: ModelProto) -> None:
    plain = TrainableGraph(net, "identity")
    assert count_weights(learning(net)) == count_weights(plain)
    assert count_weights(plain) == sum(weight.numel() for weight in plain.parameters())


def test_a_shift_that_is_also_a_mean_stays_the_mean(parse: Parse, draw: Callable[..., Any]) -> None:
    """Exporters store equal weights once: here the zeros of a shift and of a mean."""
    net = parse(
        """net (float[B, 2, 9, 9] x) => (float[B, 2, 9, 9] y) {
             y = BatchNormalization(x, s, zeros, zeros, v)
        }""",
        s=draw(2), zeros=np.zeros(2, np.float32), v=np.ones(2, np.float32),
    )  # fmt: skip
    student, x = TrainableGraph(net, "identity"), draw(3, 2, 9, 9)
    with torch.no_grad():
        next(weight for weight in student.weights().values() if not weight.any()).add_(1.0)
    wanted = student(torch.from_numpy(x)).detach().numpy().reshape(x.shape)
    np.testing.assert_allclose(says(student.model(), x), wanted, rtol=1e-4, atol=1e-4)
