"""One comparison for operators that take whole numbers: a quantised input, the operator, a cast to float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

Array = np.ndarray[Any, Any]
Operand = Array | str | None
X, SCALE, ZERO, FLOAT = "quantised", "scale", "zero", "x"
"""Stand for the quantised input, its scale, its zero point, and the input before it was quantised."""


def whole_model(
    op: str,
    inputs: Sequence[Operand],
    *,
    shape: Sequence[int],
    scale: float,
    zero: Array,
    domain: str,
    opset: int,
    attributes: dict[str, Any],
) -> ModelProto:
    """A model of `op` between QuantizeLinear and Cast; arrays among the inputs are stored."""
    stored = {SCALE: np.array(scale, dtype=np.float32), ZERO: zero}
    names = []
    for index, value in enumerate(inputs):
        name = value if isinstance(value, str) else "" if value is None else f"c{index}"
        if isinstance(value, np.ndarray):
            stored[name] = value
        names.append(name)
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", [FLOAT, SCALE, ZERO], [X]),
            helper.make_node(op, names, ["made"], domain=domain, **attributes),
            helper.make_node("Cast", ["made"], ["y"], to=TensorProto.FLOAT),
        ],
        "whole",
        [helper.make_tensor_value_info(FLOAT, TensorProto.FLOAT, ["B", *shape[1:]])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def compare_whole(
    op: str,
    inputs: Sequence[Operand],
    *,
    shape: Sequence[int],
    scale: float = 0.03,
    zero: Array | None = None,
    domain: str = "com.microsoft",
    imported: int = 17,
    flips: float = 0.0,
    close: float = 0.0,
    mapped: bool = True,
    **attributes: Any,
) -> Array:
    """onnxruntime's result, if the conversion gives it, also for one sample at a time under `torch.vmap`.

    Args:
        op: The operator.
        inputs: Its inputs: arrays are stored, names are those above, None leaves one out.
        shape: Of the input.
        scale: Of the quantised input.
        zero: Zero point of the quantised input.
        domain: Domain of the operator.
        imported: Opset of ONNX's own operators.
        flips: Share of the results that may differ, by one.
        close: Difference allowed anywhere, relative to the largest result.
        mapped: No sample depends on another.
        attributes: Of the node.
    """
    zero = np.array(127, dtype=np.uint8) if zero is None else zero
    model = whole_model(
        op, inputs, shape=shape, scale=scale, zero=zero, domain=domain, opset=imported, attributes=attributes
    )
    x = (np.random.default_rng(0).standard_normal(shape) * scale * 70).astype(np.float32)
    wanted: Array = open_session(model.SerializeToString()).run(None, {FLOAT: x})[0]
    module = convert_graph(model).eval()
    point = torch.from_numpy(x).requires_grad_()
    found = module(point)
    assert tuple(found.shape) == wanted.shape
    off = np.abs(found.detach().numpy() - wanted)
    limit = close * np.abs(wanted).max()
    assert (off > limit).mean() <= flips
    assert off.max() <= max(1.0 if flips else 0.0, limit)
    (slope,) = torch.autograd.grad(found.square().sum(), point)
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0
    if mapped:
        one_by_one = torch.vmap(lambda one: module(one.unsqueeze(0)).squeeze(0))(point.detach())
        assert torch.equal(one_by_one, found.detach()) if not close else torch.allclose(one_by_one, found)
    return wanted


def draw_whole(dtype: Any, *shape: int, seed: int = 1) -> Array:
    """Whole numbers over the full range of a type."""
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)


def single(value: float) -> Array:
    """A float32 scalar."""
    return np.array(value, dtype=np.float32)
