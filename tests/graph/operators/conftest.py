"""One comparison for all operators: a model of a single node, by onnxruntime and by its conversion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

Compare = Callable[..., np.ndarray[Any, Any]]


def node_model(
    op: str,
    stored: Sequence[Any],
    *,
    opset: int,
    domain: str,
    outputs: int,
    shape: Sequence[int],
    attributes: dict[str, Any],
) -> ModelProto:
    """A model whose first input is fed and whose others are stored; None leaves an optional input out."""
    names = ["x", *("" if value is None else f"c{i}" for i, value in enumerate(stored))]
    made = ["y", *(f"y{i}" for i in range(1, outputs))]
    node = helper.make_node(op, names, made, domain=domain, name="node", **attributes)
    weights = [
        numpy_helper.from_array(np.asarray(value), f"c{i}")
        for i, value in enumerate(stored)
        if value is not None
    ]
    graph = helper.make_graph(
        [node],
        "single",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", *shape[1:]])],
        [helper.make_empty_tensor_value_info("y")],
        weights,
    )
    imports = [helper.make_opsetid("", opset)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


@pytest.fixture
def compare() -> Compare:
    """`compare(op, x, *stored, opset=..., **attributes)`: onnxruntime's result, if the conversion gives it.

    With `gradient=True` (the default) the sum of squares of the result must also have a finite gradient that
    is not zero.
    """

    def check(
        op: str,
        x: np.ndarray[Any, Any],
        *stored: Any,
        opset: int = 17,
        domain: str = "",
        outputs: int = 1,
        gradient: bool = True,
        **attributes: Any,
    ) -> np.ndarray[Any, Any]:
        model = node_model(
            op, stored, opset=opset, domain=domain, outputs=outputs, shape=x.shape, attributes=attributes
        )
        wanted = np.asarray(open_session(model.SerializeToString()).run(None, {"x": x})[0])
        point = torch.from_numpy(x).requires_grad_()
        found = convert_graph(model).eval()(point)
        assert tuple(found.shape) == wanted.shape
        np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-4, atol=1e-5)
        if gradient:
            (slope,) = torch.autograd.grad(found.square().sum(), point)
            assert slope.isfinite().all()
            assert slope.abs().sum() > 0
        return wanted

    return check


@pytest.fixture
def mapped() -> Callable[..., None]:
    """`mapped(op, x, *stored, ...)`: the conversion under `torch.vmap` gives what it gives one by one."""

    def check(
        op: str,
        x: np.ndarray[Any, Any],
        *stored: Any,
        opset: int = 17,
        domain: str = "",
        outputs: int = 1,
        **attributes: Any,
    ) -> None:
        model = node_model(
            op, stored, opset=opset, domain=domain, outputs=outputs, shape=x.shape, attributes=attributes
        )
        module, points = convert_graph(model).eval(), torch.from_numpy(x)
        single = torch.stack([module(point[None])[0] for point in points])
        torch.testing.assert_close(torch.vmap(lambda one: module(one[None])[0])(points), single)

    return check
