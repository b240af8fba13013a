from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch import Tensor, nn

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.check import Parity, check_parity
from cake_onnx.graph.convert import convert
from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.signature import read_signature

Change = Callable[[nn.Module], nn.Module]
MODELS = [
    "linear",
    "softmax_net",
    "sigmoid_net",
    "fixed_cnn",
    "binary_sklearn",
    "multi_sklearn",
    "quantised_net",
]


def _parity(model: ModelProto, change: Change = lambda module: module) -> Parity:
    found, output = read_signature(model)
    prepared = prepare(model, found, output)
    session = open_session(model.SerializeToString())
    return check_parity(change(convert(prepared, found)), session, found, output, prepared, seed=0)


@pytest.mark.parametrize("name", MODELS)
def test_right_conversions_pass(name: str, request: pytest.FixtureRequest) -> None:
    parity = _parity(request.getfixturevalue(name))
    assert parity.max_abs_diff <= parity.tolerance
    assert parity.top1_agreement == 1.0
    assert parity.gradient_norm > 0
    assert parity.n >= 16
    assert parity.quantised is (name == "quantised_net")


class _Changed(nn.Module):
    def __init__(self, module: nn.Module, change: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.module, x)


def _detached(module: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = module(x).detach() + 0 * x.sum()
    return logits


def _doubled_gradient(module: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = module(x)
    return 2 * logits - logits.detach()


def _not_a_number(module: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = module(x) * torch.nan
    return logits


def _batch_dependent(module: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = module(x) + (0.0 if len(x) > 1 else 1.0)
    return logits


def _crash(module: nn.Module, x: Tensor) -> Tensor:
    raise RuntimeError("shapes do not fit")


WRONG: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], str]] = {
    "values": (lambda module, x: module(x) * 1.01, "logits within"),
    "shape": (lambda module, x: module(x)[:, :2], "shape"),
    "not a number": (_not_a_number, "not finite"),
    "batch": (_batch_dependent, "independent of their batch"),
    "no gradient": (_detached, "not zero"),
    "not connected": (lambda module, x: module(x).detach(), "gradient of the scores"),
    "wrong gradient": (_doubled_gradient, "differences"),
    "crash": (_crash, "shapes do not fit"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_conversions_are_refused(name: str, softmax_net: ModelProto) -> None:
    change, words = WRONG[name]
    with pytest.raises(UnsupportedTeacherError, match=words):
        _parity(softmax_net, lambda module: _Changed(module, change))


def test_a_tail_that_says_something_else_is_refused(softmax_net: ModelProto) -> None:
    found, output = read_signature(softmax_net)
    prepared = prepare(softmax_net, found, output)
    module = convert(prepared, found)
    other = ModelProto()
    other.CopyFrom(softmax_net)
    other.graph.node[-1].op_type = "Sigmoid"
    del other.graph.node[-1].attribute[:]
    session = open_session(other.SerializeToString())
    with pytest.raises(UnsupportedTeacherError, match="output 'p'"):
        check_parity(module, session, found, output, prepared, seed=0)


def test_a_quantised_model_may_be_off_by_roundings_only(quantised_net: ModelProto) -> None:
    assert _parity(quantised_net, lambda module: _Changed(module, lambda m, x: m(x) + 1e-3)).n > 0
    with pytest.raises(UnsupportedTeacherError, match="same class"):
        _parity(quantised_net, lambda module: _Changed(module, _rotated))


def _rotated(module: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = module(x)
    return logits + torch.tensor([0.2, -0.2, 0.0]) * logits.detach().abs().max()


def test_the_text_of_a_parity_is_short(linear: ModelProto, quantised_net: ModelProto) -> None:
    assert "allowed" in str(_parity(linear))
    assert "top-1" in str(_parity(quantised_net))


def test_the_same_seed_gives_the_same_numbers(softmax_net: ModelProto) -> None:
    assert _parity(softmax_net) == _parity(softmax_net)


def test_dead_networks_are_refused(parse: Callable[..., ModelProto], draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 3] y) {
             h = MatMul(x, w)
             s = Sub(h, far)
             r = Relu(s)
             y = Add(r, b)
        }""",
        w=draw(4, 3),
        far=np.array(1e3, dtype=np.float32),
        b=draw(3),
    )
    with pytest.raises(UnsupportedTeacherError, match="gradient that is not zero"):
        _parity(model)
