"""Operators that ONNX itself defines by simpler ones, spelled out where there is no converter for them."""

from __future__ import annotations

import onnx
from onnx import ModelProto, NodeProto, defs, helper, inliner

from cake_onnx.graph.refuse import since_version
from cake_onnx.graph.tensors import copy_model, opset_of

_DEEPEST = 8
"""Function bodies call other functions; ONNX's own nest three deep."""


def expand_functions(model: ModelProto) -> ModelProto:
    """Replace operators without converter by their function bodies, as far as ONNX gives one.

    Bodies can depend on element types, so the model should have gone through shape inference.
    """
    for _ in range(_DEEPEST):
        wanted = {(node.domain, node.op_type) for node in model.graph.node if _needs_body(model, node)}
        if not wanted:
            return model
        try:
            model = inliner.inline_selected_functions(
                _with_weight_types(model), sorted(wanted), inline_schema_functions=True
            )
        except (RuntimeError, ValueError, onnx.checker.ValidationError):
            # No body for these types: conversion names the operator.
            return model
    return model


def _needs_body(model: ModelProto, node: NodeProto) -> bool:
    from cake_onnx.graph.operators import registry

    if registry.has_converter(node.domain, node.op_type, since_version(model, node)):
        return False
    try:
        schema = defs.get_schema(node.op_type, opset_of(model, node.domain) or 1, node.domain)
    except defs.SchemaError:
        return False
    # The stub files of onnx leave these two out.
    return any(getattr(schema, name) for name in ("has_function", "has_context_dependent_function"))


def _with_weight_types(model: ModelProto) -> ModelProto:
    """The model with weights among its described tensors, where the inliner looks for their types."""
    result = copy_model(model)
    described = {value.name for value in result.graph.value_info}
    result.graph.value_info.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in result.graph.initializer
        if tensor.name not in described
    )
    return result
