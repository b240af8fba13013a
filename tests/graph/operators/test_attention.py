from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch.nn import functional

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.operators.attention import attend
from cake_onnx.graph.runtime import open_session

Compare = Callable[..., Any]
Draw = Callable[..., Any]


def test_heads_side_by_side_and_joined(compare: Compare, draw: Draw) -> None:
    compare("Attention", draw(2, 3, 4, 6), draw(2, 3, 5, 6), draw(2, 3, 5, 7), opset=23)
    compare(
        *("Attention", draw(2, 4, 12), draw(2, 5, 12), draw(2, 5, 9)),
        opset=23,
        q_num_heads=3,
        kv_num_heads=3,
    )


def test_groups_of_queries_share_keys(compare: Compare, draw: Draw) -> None:
    compare("Attention", draw(2, 6, 4, 3), draw(2, 2, 5, 3), draw(2, 2, 5, 3), opset=23)
    compare(
        *("Attention", draw(2, 4, 12), draw(2, 5, 6), draw(2, 5, 4)),
        opset=23,
        q_num_heads=4,
        kv_num_heads=2,
    )


@pytest.mark.parametrize("attributes", [{"scale": 0.3}, {"softcap": 0.8}, {"is_causal": 1}])
def test_attributes(attributes: dict[str, Any], compare: Compare, draw: Draw) -> None:
    compare("Attention", draw(2, 3, 5, 4), draw(2, 3, 5, 4), draw(2, 3, 5, 4), opset=23, **attributes)


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (1, 1, 4, 5), (2, 3, 4, 5)])
def test_masks(shape: tuple[int, ...], compare: Compare, draw: Draw) -> None:
    tensors = draw(2, 3, 4, 6), draw(2, 3, 5, 6), draw(2, 3, 5, 6)
    mask = draw(*shape)
    compare("Attention", *tensors, mask, opset=23)
    mask[..., 1] = 2.0  # every query sees one key
    compare("Attention", *tensors, mask > 0, opset=23)
    compare("Attention", *tensors, mask > 0, opset=23, is_causal=1, softcap=0.7, gradient=False)


def test_a_query_that_sees_nothing_gives_zeros_and_a_finite_gradient(compare: Compare, draw: Draw) -> None:
    mask = np.ones((4, 5), dtype=bool)
    mask[2] = False
    tensors = draw(2, 3, 4, 6), draw(2, 3, 5, 6), draw(2, 3, 5, 6)
    assert (compare("Attention", *tensors, mask, opset=23)[:, :, 2] == 0).all()
    added = np.where(mask, 0.0, -np.inf).astype(np.float32)
    assert (compare("Attention", *tensors, added, opset=23)[:, :, 2] == 0).all()


def test_earlier_keys(compare: Compare, draw: Draw) -> None:
    tensors = draw(2, 3, 4, 6), draw(2, 3, 4, 6), draw(2, 3, 4, 6)
    earlier = draw(2, 3, 2, 6), draw(2, 3, 2, 6)
    compare("Attention", *tensors, None, *earlier, opset=23, outputs=3)
    compare("Attention", *tensors, None, *earlier, opset=23, outputs=3, is_causal=1)


def _judged(opset: int, inputs: dict[str, Any], made: list[str], **attributes: Any) -> None:
    """By onnxruntime, and by onnx itself for what onnxruntime lacks."""
    names = ["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"]
    names = [name if name in inputs else "" for name in names[: 6 if opset == 23 else 7]]
    node = helper.make_node("Attention", names, made, name="node", **attributes)
    graph = helper.make_graph(
        [node],
        "attention",
        [helper.make_tensor_value_info("Q", 1, inputs["Q"].shape)],
        [helper.make_empty_tensor_value_info(made[-1])],
        [numpy_helper.from_array(value, name) for name, value in inputs.items() if name != "Q"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    if opset < 25:
        (wanted,) = open_session(model.SerializeToString()).run(None, {"Q": inputs["Q"]})
    else:
        (wanted,) = ReferenceEvaluator(model).run([made[-1]], {"Q": inputs["Q"]})
    found = convert_graph(model)(torch.from_numpy(inputs["Q"]))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shown", [0, 1, 2, 3])
def test_the_stages_of_the_scores_are_an_output(shown: int, draw: Draw) -> None:
    inputs = {"Q": draw(2, 3, 4, 6), "K": draw(2, 3, 5, 6), "V": draw(2, 3, 5, 6), "attn_mask": draw(4, 5)}
    _judged(23, inputs, ["Y", "", "", "scores"], qk_matmul_output_mode=shown, softcap=0.6)


@pytest.mark.parametrize(
    "attributes",
    [{}, {"is_causal": 1}, {"left_window_size": 1}, {"left_window_size": 2, "right_window_size": 0}],
)
def test_lengths_and_windows(attributes: dict[str, Any], draw: Draw) -> None:
    inputs = {"Q": draw(2, 3, 2, 6), "K": draw(2, 3, 5, 6), "V": draw(2, 3, 5, 6)}
    _judged(25, inputs, ["Y"], **attributes)
    lengths = {"nonpad_kv_seqlen": np.array([5, 3], np.int64)}
    _judged(25, {**inputs, **lengths}, ["Y"], **attributes)


def test_an_unknown_stage_is_declined(parse: Callable[..., ModelProto]) -> None:
    model = parse(
        """g (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y) {
             y = Attention<qk_matmul_output_mode = 7>(x, x, x)
        }""",
        opset=23,
    )
    with pytest.raises(UnsupportedTeacherError, match="qk_matmul_output_mode 7"):
        convert_graph(model)


def test_sample_by_sample_under_vmap(draw: Draw) -> None:
    x = torch.from_numpy(draw(2, 3, 4, 6))
    allowed = torch.ones(4, 4, dtype=torch.bool).tril(-1)
    mapped = torch.vmap(lambda one: attend(one[None], one[None], one[None], 0.5, allowed=allowed)[0][0])
    torch.testing.assert_close(mapped(x), attend(x, x, x, 0.5, allowed=allowed)[0])


@pytest.mark.parametrize(
    ("queries", "kind", "one"), [(64, torch.float32, 1), (63, torch.float32, 0), (64, torch.bfloat16, 0)]
)
def test_torch_does_it_in_one_step_where_that_is_quicker(
    queries: int, kind: torch.dtype, one: int, parse: Callable[..., ModelProto], draw: Draw,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model = parse("g (float[B, 2, S, 4] x) => (float y) { y = Attention<scale = 0.3>(x, x, x) }", opset=23)
    module, x = convert_graph(model), torch.from_numpy(draw(3, 2, queries, 4))
    wanted = attend(x, x, x, 0.3)[0]
    calls = []
    whole = functional.scaled_dot_product_attention

    def counted(*given: Any, **named: Any) -> torch.Tensor:
        calls.append(given)
        return whole(*given, **named)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    with torch.autocast("cpu", kind, enabled=kind != torch.float32):
        found = module(x)
    assert len(calls) == one
    torch.testing.assert_close(found.float(), wanted, rtol=1e-2, atol=1e-2 if one == 0 else 1e-5)
