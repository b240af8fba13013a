"""One comparison for all chains: onnxruntime, the fused conversion, and the conversion node by node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch import Tensor

from cake_onnx.graph import convert as conversion
from cake_onnx.graph.convert import claim_graph, convert_claimed
from cake_onnx.graph.runtime import open_session

Operators = Callable[..., list[str]]


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch) -> Operators:
    """`operators(model, x)`: what the model is converted as, if values and gradients are those of its nodes.

    The last Identity, which every converted graph has, is left out.
    """

    def check(model: ModelProto, x: np.ndarray[Any, Any], tolerance: float = 1e-5) -> list[str]:
        wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
        fused = claim_graph(model)
        with monkeypatch.context() as patch:
            patch.setattr(conversion, "fuse_chains", lambda given: given)
            plain = claim_graph(model)
        values, slopes = _passed(fused, x)
        np.testing.assert_allclose(values.numpy(), wanted, rtol=10 * tolerance, atol=tolerance)
        torch.testing.assert_close(slopes, _passed(plain, x)[1], rtol=10 * tolerance, atol=tolerance)
        return [node.op_type for node in fused.graph.node][:-1]

    return check


def _passed(claimed: ModelProto, x: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
    """What comes out, and the gradient of some weighting of it."""
    point = torch.from_numpy(x.astype(np.float32)).requires_grad_()
    y = convert_claimed(claimed).eval()(point)
    (slopes,) = torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), point)
    return y.detach(), slopes
