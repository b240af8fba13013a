"""What the conditions of our patterns ask of a value, and how a node is made that our converters claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from cake_onnx.graph.operators import registry

Op = Any
Pattern = Any
"""Objects that onnxscript does not type: the first makes nodes, the second is a value in a pattern."""


def claimed(op: Op, op_type: str, since: int, *inputs: ir.Value, **attributes: object) -> ir.Value:
    """A node of ONNX's `op_type` as of version `since`, whatever opset the file imports."""
    node = getattr(op, op_type)(*inputs, **attributes, _domain=registry.own_domain("", since), _version=since)
    assert isinstance(node, ir.Value)
    return node


def attributes(value: ir.Value) -> Mapping[str, ir.Attr]:
    """Those of the node that makes the value, empty for an input."""
    node = value.producer()
    return {} if node is None else node.attributes


def second_input(value: ir.Value) -> ir.Value | None:
    """Of the node that makes the value, if it has one."""
    node = value.producer()
    return None if node is None or len(node.inputs) < 2 else node.inputs[1]


def number(value: ir.Value | None) -> float | None:
    """The only element of a stored tensor, None for every other value."""
    stored = None if value is None else value.const_value
    return float(stored.numpy().item()) if stored is not None and stored.size == 1 else None


def integers(value: ir.Value | None) -> list[int] | None:
    """A stored tensor of integers as a list, None for every other value."""
    stored = None if value is None else value.const_value
    return None if stored is None else [int(item) for item in stored.numpy().reshape(-1)]


def rank(value: ir.Value) -> int | None:
    """Number of axes, as far as the graph says it."""
    return None if value.shape is None else len(value.shape)
