"""Layers by the names people know, those together that lose channels together."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from cake_onnx.graph.channels import Sizes, follow_channels, layers_of, narrow
from cake_onnx.teacher import load_teacher
from tests.graph.channels.conftest import Attention, Depthwise, Prepare, Residual, Shuffled

Named = list[tuple[tuple[str, ...], int]]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("digits_cnn", [(("0",), 32), (("2",), 32), (("5",), 64), (("9",), 64)]),
        # No weight has a telling name there, so nodes are named.
        ("digits_mlp_sklearn", [(("MatMul",), 64), (("MatMul1",), 32)]),
        (
            "digits_softmax_dynamo",
            [
                (("0.0", "0.3.second"), 16),
                (("0.3.first",), 16),
                (("0.4.first",), 32),
                (("0.4.second", "0.4.shortcut"), 32),
            ],
        ),
    ],
)
def test_layers_of_shipped_teachers(fixtures: Path, file: str, expected: Named) -> None:
    teacher = load_teacher(fixtures / f"{file}.onnx")
    layers = layers_of(follow_channels(teacher.prepared.body, teacher.input))
    assert [(entry.names, entry.width) for entry in layers] == expected


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Residual, [(("stem", "b"), 8), (("a",), 12), (("c", "short"), 16)]),
        # What gates channels is as wide as they are; a depthwise convolution keeps the width it gets.
        (
            Depthwise,
            [(("expand", "depth", "excite"), 12), (("squeeze",), 6), (("project",), 6), (("head.0",), 10)],
        ),
        # What leaves the grouped convolution is split in halves, so none of it can go.
        (Shuffled, [(("first",), 12), (("side",), 6), (("last",), 8)]),
        # Exporters transpose the matrices of attention and rename them; their biases keep the names.
        (Attention, [(("patch", "out", "down"), 8), (("qkv",), 24), (("up",), 16)]),
    ],
)
def test_layers_that_hang_together_are_told_together(
    network: type[nn.Module], expected: Named, prepared: Prepare
) -> None:
    body, input = prepared(network())
    layers = layers_of(follow_channels(body.body, input))
    assert [(entry.names, entry.width) for entry in layers] == expected


@pytest.mark.parametrize("network", [Residual, Depthwise, Shuffled, Attention])
def test_the_key_tells_the_width_that_is_left(network: type[nn.Module], prepared: Prepare) -> None:
    body, input = prepared(network())
    channels = follow_channels(body.body, input)
    sizes = Sizes(channels)
    for item in channels.droppable()[::2]:
        if sizes.may_drop([item]):
            sizes.drop([item])
    narrower = narrow(channels, sizes.dropped)
    dims = {tensor.name: tensor.dims for tensor in narrower.graph.initializer}
    before, after = layers_of(channels), layers_of(follow_channels(narrower, input))
    assert [entry.names for entry in after] == [entry.names for entry in before]
    assert [dims[entry.key[0]][entry.key[1]] for entry in before] == [entry.width for entry in after]
    assert all(new.width < old.width for old, new in zip(before, after, strict=True))
