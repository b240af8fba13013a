"""A narrowed graph says what the whole one says once all that went is zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from cake_onnx.graph.channels import Channels, Sizes, follow_channels, narrow
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.runtime import draw_inputs, open_session
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.tensors import copy_model

Network = tuple[Prepared, InputSpec]


def choose(channels: Channels, seed: int, share: float = 0.5) -> list[int]:
    """A random part of what may be dropped."""
    sizes, order = Sizes(channels), np.random.default_rng(seed)
    for item in order.permutation(channels.droppable()).tolist():
        if order.random() < share and sizes.may_drop([item]):
            sizes.drop([item])
    return sorted(sizes.dropped)


def silenced(channels: Channels, dropped: list[int]) -> ModelProto:
    """The whole graph with zeros in every slice of every weight that narrowing would take away."""
    result = copy_model(channels.model)
    for tensor in result.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        for axis, label in enumerate(channels.labels.get(tensor.name, ())):
            if label is not None:
                gone = [not channels.items.is_kept(item, dropped.__contains__) for item in label.tolist()]
                np.moveaxis(values, axis, 0)[np.array(gone)] = 0
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return result


def run(model: ModelProto, input: InputSpec, batch: int) -> np.ndarray[Any, Any]:
    return np.asarray(
        open_session(model.SerializeToString()).run(None, {input.name: draw_inputs(input, batch, 0)})[0]
    )


@pytest.mark.parametrize("seed", range(5))
def test_what_is_left_computes_the_same(network: Network, seed: int) -> None:
    prepared, input = network
    channels = follow_channels(prepared.body, input)
    dropped = choose(channels, seed)
    assert dropped
    smaller = narrow(channels, dropped)
    assert smaller.ByteSize() < prepared.body.ByteSize()
    for batch in (1, 4):
        wanted = run(silenced(channels, dropped), input, batch)
        np.testing.assert_allclose(run(smaller, input, batch), wanted, rtol=1e-4, atol=1e-5)


def test_everything_that_may_go_can_go(network: Network) -> None:
    prepared, input = network
    channels = follow_channels(prepared.body, input)
    smaller = narrow(channels, choose(channels, 0, share=1.0))
    assert run(smaller, input, 2).shape == (2, 3)
    again = follow_channels(smaller, input)
    assert len(again.droppable()) < len(channels.droppable()) / 4


def test_nothing_dropped_is_the_same_graph(network: Network) -> None:
    prepared, input = network
    same = narrow(follow_channels(prepared.body, input), [])
    assert [node.op_type for node in same.graph.node] == [node.op_type for node in prepared.body.graph.node]
    np.testing.assert_array_equal(run(same, input, 3), run(prepared.body, input, 3))


def test_a_narrowed_graph_can_be_narrowed_again(network: Network) -> None:
    prepared, input = network
    channels = follow_channels(prepared.body, input)
    once = narrow(channels, choose(channels, 1, share=0.3))
    following = follow_channels(once, input)
    dropped = choose(following, 2, share=0.3)
    wanted = run(silenced(following, dropped), input, 2)
    np.testing.assert_allclose(run(narrow(following, dropped), input, 2), wanted, rtol=1e-4, atol=1e-5)


def test_inputs_and_scores_stay(network: Network) -> None:
    prepared, input = network
    channels = follow_channels(prepared.body, input)
    smaller = narrow(channels, choose(channels, 3))
    assert smaller.graph.input[0] == prepared.body.graph.input[0]
    assert smaller.graph.output[0].name == prepared.body.graph.output[0].name


def test_an_unknown_operator_keeps_what_it_touches(parse: Callable[..., ModelProto], draw: Any) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 3] y) {
             h = MatMul(x, w1)
             s = CumSum(h, axis)
             y = MatMul(s, w2)
        }""",
        w1=draw(4, 6),
        w2=draw(6, 3),
        axis=np.array(1, dtype=np.int64),
    )
    input, _ = read_signature(model)
    channels = follow_channels(model, input)
    assert channels.droppable() == ()
    assert "CumSum" in str(channels.reason())


def test_channels_pass_what_normalises_each_alone(parse: Callable[..., ModelProto], draw: Any) -> None:
    model = parse(
        """g (float[B, 1, 4, 4] x) => (float[B, 3] y) {
             h = Conv(x, k)
             n = MeanVarianceNormalization<axes = [2, 3]>(h)
             r = Relu(n)
             p = GlobalAveragePool(r)
             f = Flatten(p)
             y = MatMul(f, w)
        }""",
        k=draw(6, 1, 3, 3),
        w=draw(6, 3),
    )
    input, _ = read_signature(model)
    channels = follow_channels(model, input)
    assert len(channels.droppable()) == 6
    # A channel of zeros has no variance, so here it is what reads the channels that gets the zeros.
    unread = draw(6, 3)
    unread[::2] = 0
    silent = copy_model(model)
    silent.graph.initializer[1].CopyFrom(numpy_helper.from_array(unread, "w"))
    smaller = narrow(channels, list(channels.droppable()[::2]))
    assert {tuple(tensor.dims) for tensor in smaller.graph.initializer} == {(3, 1, 3, 3), (3, 3)}
    np.testing.assert_allclose(run(smaller, input, 2), run(silent, input, 2), rtol=1e-4, atol=1e-5)


def test_many_cuts_leave_a_valid_graph(network: Network) -> None:
    prepared, input = network
    model = prepared.body
    for seed in range(4):
        channels = follow_channels(model, input)
        model = narrow(channels, choose(channels, seed, share=0.2))
    names = [tensor.name for tensor in model.graph.initializer]
    assert len(names) == len(set(names))
    onnx.checker.check_model(model, full_check=True)
