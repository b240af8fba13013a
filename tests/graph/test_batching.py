from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch import Tensor, nn

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.batching import InGroups, let_any_batch_through
from cake_onnx.graph.convert import TeacherModule, convert, convert_graph
from cake_onnx.graph.prepare import Prepared, prepare
from cake_onnx.graph.runtime import open_session, scores
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.specs import InputSpec

Parse = Callable[..., ModelProto]


@pytest.fixture
def hidden(parse: Parse, draw: Callable[..., Any]) -> ModelProto:
    """A batch of 1 in the middle of a reshape target, where no rewriting finds it."""
    return parse(
        """g (float[1, 4] x) => (float[1, 3] y) {
             t = Reshape(x, twice)
             u = Transpose<perm = [1, 0]>(t)
             v = Reshape(u, back)
             y = MatMul(v, w)
        }""",
        twice=np.array([2, 2], dtype=np.int64),
        back=np.array([1, 4], dtype=np.int64),
        w=draw(4, 3),
    )


@pytest.fixture
def by_two(parse: Parse, draw: Callable[..., Any]) -> ModelProto:
    """Two samples at a time, kept apart, in a way that no rewriting frees."""
    return parse(
        """g (float[2, 4] x) => (float[2, 3] y) {
             first, second = Split<axis = 0>(x, ones)
             joined = Concat<axis = 0>(first, second)
             y = MatMul(joined, w)
        }""",
        ones=np.array([1, 1], dtype=np.int64),
        w=draw(4, 3),
    )


def _prepare(model: ModelProto) -> tuple[Prepared, InputSpec]:
    found, output = read_signature(model)
    return prepare(model, found, output), found


def _wanted(model: ModelProto, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found, output = read_signature(model)
    session = open_session(model.SerializeToString())
    return np.concatenate([scores(session, found, output, x[i : i + 1]) for i in range(len(x))])


@pytest.mark.parametrize("mapped", [True, False])
def test_groups_give_one_row_a_sample(mapped: bool) -> None:
    body = InGroups(nn.Flatten(), 3, mapped=mapped)
    x = torch.arange(16.0).reshape(4, 2, 2)
    torch.testing.assert_close(body(x), x.reshape(4, 4))


@pytest.mark.parametrize("samples", [1, 5])
def test_one_sample_files_are_mapped(hidden: ModelProto, samples: int, draw: Callable[..., Any]) -> None:
    prepared, found = _prepare(hidden)
    module = convert(prepared, found)
    assert module.way == "one sample at a time (vmap)"
    x = draw(samples, 4)
    np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), _wanted(hidden, x), rtol=1e-5, atol=1e-5)


class _LooksAtValues(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """What torch.vmap forbids."""
        x.sum().item()
        result: Tensor = self.body(x)
        return result


def test_a_loop_where_a_map_is_impossible(hidden: ModelProto, draw: Callable[..., Any]) -> None:
    prepared, found = _prepare(hidden)
    module = convert(prepared, found)
    assert isinstance(module.body, InGroups)
    body, way = let_any_batch_through(_LooksAtValues(module.body.body), prepared, found)
    assert way == "one sample at a time (loop)"
    x = draw(3, 4)
    np.testing.assert_allclose(body(torch.from_numpy(x)).numpy(), _wanted(hidden, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_larger_batches_are_filled(by_two: ModelProto, samples: int, draw: Callable[..., Any]) -> None:
    prepared, found = _prepare(by_two)
    assert prepared.fixed_batch == 2
    module = convert(prepared, found)
    assert module.way == "in groups as large as the file's batch (vmap)"
    x = draw(samples, 4)
    point = torch.from_numpy(x).requires_grad_()
    logits = module(point)
    np.testing.assert_allclose(logits.detach().numpy(), _wanted(by_two, x), rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits[0, 1], point)
    np.testing.assert_allclose(gradient[0].numpy(), draw(4, 3)[:, 1], rtol=1e-5)
    assert not gradient[1:].any()


def test_samples_that_know_of_each_other_are_refused(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[2, 4] x) => (float[2, 3] y) {
             m = ReduceMean<axes = [0], keepdims = 1>(x)
             c = Sub(x, m)
             y = MatMul(c, w)
        }""",
        w=draw(4, 3),
    )
    prepared, found = _prepare(model)
    with pytest.raises(UnsupportedTeacherError, match="batches of 2, whose samples depend on each other"):
        convert(prepared, found)


def test_a_scale_over_the_batch_goes_one_by_one(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 3] y) {
             q, s, z = DynamicQuantizeLinear(x)
             d = DequantizeLinear(q, s, z)
             y = MatMul(d, w)
        }""",
        w=draw(4, 3),
    )
    prepared, found = _prepare(model)
    module = convert(prepared, found)
    assert module.way == "one sample at a time (vmap)"
    # Together, the large sample would coarsen the grid of the small one.
    x = np.concatenate([draw(1, 4) * 1000, draw(1, 4)])
    np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), _wanted(model, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "way"), [("linear", "any batch at once"), ("fixed_cnn", "batch axis freed")]
)
def test_other_files_take_what_comes(name: str, way: str, request: pytest.FixtureRequest) -> None:
    module: TeacherModule = convert(*_prepare(request.getfixturevalue(name)))
    assert module.way == way
    assert way in repr(module)


def test_attention_over_many_tokens_is_mapped(
    parse: Callable[..., ModelProto], draw: Callable[..., Any]
) -> None:
    """With the kernel that does it in one step, vmap would warn and go sample by sample."""
    model = parse("g (float[1, 2, 70, 4] x) => (float y) { y = Attention<scale = 0.3>(x, x, x) }", opset=23)
    body, x = convert_graph(model), torch.from_numpy(draw(3, 2, 70, 4))
    torch.testing.assert_close(InGroups(body, 1, mapped=True)(x), body(x).flatten(1))
