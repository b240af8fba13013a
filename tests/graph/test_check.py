from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.check import Parity, check_parity
from cake_onnx.graph.convert import convert
from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.signature import read_signature

Change = Callable[[nn.Module], nn.Module]
Parse = Callable[..., ModelProto]
Draw = Callable[..., Any]
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
    assert parity.gradient_error < (0.5 if name == "quantised_net" else 0.02)
    assert parity.n >= 16
    assert parity.quantised is (name == "quantised_net")


class _Changed(nn.Module):
    def __init__(self, module: nn.Module, change: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.module, x)


def _refused(model: ModelProto, change: Callable[[nn.Module, Tensor], Tensor], words: str) -> None:
    with pytest.raises(UnsupportedTeacherError, match=words):
        _parity(model, lambda module: _Changed(module, change))


def _add_at(row: int) -> Callable[[nn.Module, Tensor], Tensor]:
    """Wrong for one place of a batch."""

    def change(module: nn.Module, x: Tensor) -> Tensor:
        wrong = torch.zeros(len(x), 1)
        wrong[row % len(x)] = 0.1 if len(x) > 1 else 0.0
        logits: Tensor = module(x) * (1 + wrong)
        return logits

    return change


def _without_gradient_of_half(module: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = module(torch.cat([x[:, :2], x[:, 2:].detach()], dim=1))
    return logits


def _without_gradient_of_a_class(module: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = module(x)
    return torch.cat([logits[:, :1].detach(), logits[:, 1:]], dim=1)


def _crash(module: nn.Module, x: Tensor) -> Tensor:
    raise RuntimeError("shapes do not fit")


WRONG: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], str]] = {
    "values": (lambda module, x: module(x) * 1.01, "logits within"),
    "classes swapped": (lambda module, x: module(x)[:, [1, 0, 2]], "logits within"),
    "sign of the input": (lambda module, x: module(x.abs()), "logits within"),
    "corners": (lambda module, x: module(x.clamp(-2.99, 2.99)), "logits within"),
    "beyond the range": (lambda module, x: module(x.clamp(-3, 3)), "logits within.*beyond the range"),
    "zero": (lambda module, x: module(x + (x == 0) * 0.1), "logits within.*a flat sample"),
    "shape": (lambda module, x: module(x)[:, :2], "shape"),
    "rank of a single sample": (lambda module, x: module(x).squeeze(0), "a row of logits for each sample"),
    "not a number": (lambda module, x: module(x) * torch.nan, "not finite"),
    "not a number at zero variance": (
        lambda module, x: module(x) + 0 / x.var(dim=1, keepdim=True),
        "not finite",
    ),
    "single samples": (lambda module, x: module(x) + (len(x) == 1), "independent of their batch"),
    "small batches": (lambda module, x: module(x) + (len(x) == 3), "independent of their batch"),
    "first of a batch": (_add_at(0), "logits within"),
    "eighth of a batch": (_add_at(7), "logits within"),
    "last of a batch": (_add_at(-1), "logits within"),
    "neighbours in a batch": (lambda module, x: module(x.roll(1, 0)), "logits within"),
    "statistics of a batch": (lambda module, x: module(x - 0.1 * x.mean(dim=0)), "logits within"),
    "no gradient": (lambda module, x: module(x).detach() + 0 * x.sum(), "not zero"),
    "not connected": (lambda module, x: module(x).detach(), "gradient of the scores"),
    "doubled gradient": (lambda module, x: 2 * module(x) - module(x).detach(), "difference"),
    "turned gradient": (lambda module, x: 2 * module(x).detach() - module(x), "difference"),
    "gradient of half the inputs": (_without_gradient_of_half, "lack no part"),
    "gradient of all but one class": (_without_gradient_of_a_class, "gradients"),
    "gradient of another place": (
        lambda module, x: module(x).detach() + module(x.flip(1)) - module(x.flip(1)).detach(),
        "difference",
    ),
    "other values with gradients": (
        lambda module, x: module(x) * (1.01 if x.requires_grad else 1),
        "with and without gradients",
    ),
    "crash": (_crash, "shapes do not fit"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_conversions_are_refused(name: str, softmax_net: ModelProto) -> None:
    change, words = WRONG[name]
    _refused(softmax_net, change, words)


def test_a_module_that_changes_with_use_is_refused(softmax_net: ModelProto) -> None:
    calls = []

    def drifting(module: nn.Module, x: Tensor) -> Tensor:
        calls.append(1)
        logits: Tensor = module(x) * (1 + 0.02 * len(calls))
        return logits / 1.02

    _refused(softmax_net, drifting, "with and without|independent")


def test_a_large_bias_hides_nothing(parse: Parse, draw: Draw) -> None:
    model = parse(
        "g (float[B, 4] x) => (float[B, 3] y) { h = MatMul(x, w)\n y = Add(h, b) }",
        w=0.1 * draw(4, 3),
        b=np.array([900.0, 1000.0, 1100.0], np.float32),
    )
    assert _parity(model).top1_agreement == 1.0
    _refused(model, lambda module, x: module(-x), "logits within")


def test_a_small_class_beside_large_ones_is_compared(parse: Parse, draw: Draw) -> None:
    weights = draw(4, 3) * np.array([10.0, 10.0, 0.01], np.float32)
    model = parse("g (float[B, 4] x) => (float[B, 3] y) { y = MatMul(x, w) }", w=weights)
    _refused(model, lambda module, x: module(x) * torch.tensor([1.0, 1.0, -1.0]), "logits within.*class 2")


def test_the_epsilon_of_a_normalisation_counts(parse: Parse, draw: Draw) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 3] y) {
             n = LayerNormalization<axis = -1, epsilon = 0.0001>(x, one, zero)
             y = MatMul(n, w)
        }""",
        one=np.ones(4, np.float32),
        zero=np.zeros(4, np.float32),
        w=draw(4, 3),
    )
    weights = torch.from_numpy(draw(4, 3))
    _parity(model, lambda _: _Changed(_, lambda m, x: nn.functional.layer_norm(x, (4,), eps=1e-4) @ weights))
    _refused(model, lambda _, x: nn.functional.layer_norm(x, (4,), eps=1e-5) @ weights, "a faint sample")


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


def test_a_saturated_softmax_hides_nothing(parse: Parse, draw: Draw) -> None:
    model = parse(
        "g (float[B, 4] x) => (float[B, 3] p) { z = MatMul(x, w)\n p = Softmax<axis = 1>(z) }",
        w=200 * draw(4, 3),
    )
    assert _parity(model).gradient_norm > 0
    _refused(model, lambda module, x: module(x) * 1.01, "logits within")


def test_kinks_do_not_spoil_the_gradient_check(parse: Parse, draw: Draw) -> None:
    layers = "\n".join(f"m{i} = MatMul(r{i}, w)\n r{i + 1} = Relu(m{i})" for i in range(12))
    model = parse(
        f"g (float[B, 64] x) => (float[B, 3] y) {{ r0 = Identity(x)\n {layers}\n y = MatMul(r12, v) }}",
        w=draw(64, 64) * np.float32(np.sqrt(2 / 64)),
        v=draw(64, 3),
    )
    assert _parity(model).gradient_error < 0.05


def test_a_rounding_may_fall_otherwise_but_not_every_one(quantised_net: ModelProto) -> None:
    assert _parity(quantised_net, lambda module: _Changed(module, lambda m, x: m(x) + 1e-3)).n > 0
    _refused(quantised_net, lambda module, x: module(x) * 1.1, "logits within")
    _refused(quantised_net, _far_off_for_one, "logits within")
    _refused(quantised_net, lambda module, x: module(x).detach() + 0 * x.sum(), "not zero")
    _refused(quantised_net, lambda module, x: 2 * module(x).detach() - module(x), "difference")


def _far_off_for_one(module: nn.Module, x: Tensor) -> Tensor:
    wrong = torch.zeros(len(x), 1)
    wrong[2 % len(x)] = 50.0 * (len(x) > 3)
    logits: Tensor = module(x)
    return logits + wrong


def test_classes_of_a_quantised_model_may_swap_only_at_near_ties(quantised_net: ModelProto) -> None:
    def swapped(module: nn.Module, x: Tensor) -> Tensor:
        logits: Tensor = module(x)
        best, second = logits.detach().topk(2).values.T
        close = ((best - second) < 0.04 * logits.detach().abs().max()).unsqueeze(1)
        return torch.where(close, logits.flip(1), logits)

    _parity(quantised_net)
    _refused(quantised_net, swapped, "logits within|same class")


def test_signs_have_a_substitute_gradient(parse: Parse, draw: Draw) -> None:
    model = parse(
        """g (float[B, 16] x) => (float[B, 3] y) {
             h = MatMul(x, w)
             s = Sign(h)
             y = MatMul(s, v)
        }""",
        w=draw(16, 64),
        v=draw(64, 3),
    )
    assert _parity(model).quantised
    _refused(model, lambda module, x: module(x) * 1.05, "logits within")


@pytest.fixture
def byte_net(draw: Draw) -> ModelProto:
    """Bytes of an image to three logits."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "scale"], ["m"]),
        helper.make_node("Conv", ["m", "k"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    stored = {"scale": np.float32(1 / 255), "k": draw(2, 1, 3, 3), "w": draw(32, 3)}
    graph = helper.make_graph(
        nodes,
        "bytes",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["B", 1, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_inputs_that_are_whole_numbers_are_checked_in_whole_steps(byte_net: ModelProto) -> None:
    assert _parity(byte_net).gradient_error < 0.1
    _refused(byte_net, lambda module, x: 2 * module(x) - module(x).detach(), "difference")
    _refused(byte_net, lambda module, x: module(x.clamp_max(254)), "logits within")


def test_the_text_of_a_parity_is_short(linear: ModelProto, quantised_net: ModelProto) -> None:
    assert "allowed" in str(_parity(linear))
    assert "top-1" in str(_parity(quantised_net))


def test_the_same_seed_gives_the_same_numbers(softmax_net: ModelProto) -> None:
    assert _parity(softmax_net) == _parity(softmax_net)


def test_dead_networks_are_refused(parse: Parse, draw: Draw) -> None:
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


def test_scores_lost_in_rounding_are_refused(parse: Parse, draw: Draw) -> None:
    model = parse(
        "g (float[B, 4] x) => (float[B, 3] y) { h = MatMul(x, w)\n y = Add(h, b) }",
        w=1e-6 * draw(4, 3),
        b=np.array([9.0, 10.0, 11.0], np.float32),
    )
    with pytest.raises(UnsupportedTeacherError, match="change with the input"):
        _parity(model)


def test_what_onnxruntime_cannot_compute_is_left_out_if_it_is_odd(parse: Parse, draw: Draw) -> None:
    text = """g (float[B, 4] x) => (float[B, 3] y) {{
         m = ReduceMean<axes = [1]>(x)
         c = Sub(x, m)
         s = Mul(c, c)
         v = ReduceMean<axes = [1]>(s)
         d = {root}
         n = Div(c, d)
         y = MatMul(n, w)
    }}"""
    assert _parity(parse(text.format(root="Sqrt(v)"), w=draw(4, 3))).n < 29, "flat samples have no variance"
    with pytest.raises(UnsupportedTeacherError, match=r"finite scores.*input-range"):
        _parity(parse(text.format(root="Log(x)"), w=draw(4, 3)))


def test_the_remedy_names_the_trace(softmax_net: ModelProto) -> None:
    _refused(softmax_net, lambda module, x: module(x) * 1.01, "inspect MODEL --trace")
