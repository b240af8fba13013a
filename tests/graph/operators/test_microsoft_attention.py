from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]

BATCH, STEPS, FEATURES, HEADS, SIZE = 2, 5, 6, 3, 4
WIDTH = HEADS * SIZE


@pytest.fixture
def attention(compare: Compare, draw: Draw) -> Compare:
    tensors = draw(BATCH, STEPS, FEATURES), draw(FEATURES, 3 * WIDTH), draw(3 * WIDTH)
    return partial(compare, "Attention", *tensors, domain="com.microsoft", num_heads=HEADS)


@pytest.fixture
def heads(compare: Compare, draw: Draw) -> Compare:
    tensors = draw(BATCH, STEPS, WIDTH), draw(BATCH, 7, WIDTH), draw(BATCH, 7, HEADS * 5)
    return partial(compare, "MultiHeadAttention", *tensors, domain="com.microsoft", num_heads=HEADS)


MASKS = [
    np.array([3, 5], np.int32),
    np.array([4, 5, 1, 0], np.int32),
    np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]], np.int32),
    np.zeros((BATCH, STEPS), np.int32),
    (np.arange(BATCH * STEPS * STEPS) % 3 > 0).astype(np.int32).reshape(BATCH, STEPS, STEPS),
]


@pytest.mark.parametrize("attributes", [{}, {"scale": 0.3}, {"unidirectional": 1}])
def test_attention(attributes: dict[str, Any], attention: Compare) -> None:
    attention(**attributes)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("attributes", [{}, {"unidirectional": 1}, {"mask_filter_value": -1.0}])
def test_attention_masks(mask: Any, attributes: dict[str, Any], attention: Compare) -> None:
    attention(mask, **attributes)


def test_attention_bias_past_and_sizes(attention: Compare, compare: Compare, draw: Draw) -> None:
    attention(None, None, draw(BATCH, HEADS, STEPS, STEPS))
    attention(MASKS[2], None, draw(1, 1, STEPS, STEPS), unidirectional=1)
    attention(None, draw(2, BATCH, HEADS, 3, SIZE), outputs=2, unidirectional=1)
    compare(
        *("Attention", draw(BATCH, STEPS, FEATURES), draw(FEATURES, 2 * WIDTH + 21), draw(2 * WIDTH + 21)),
        domain="com.microsoft",
        num_heads=HEADS,
        qkv_hidden_sizes=[WIDTH, WIDTH, 21],
    )


@pytest.mark.parametrize(
    ("mask", "attributes", "reason"),
    [(np.ones((2, 1, 8, 8), np.int32), {}, "mask of shape"), (None, {"do_rotary": 1}, "rotary")],
)
def test_attention_declines_what_only_graphics_cards_run(
    mask: Any, attributes: dict[str, Any], reason: str, draw: Draw
) -> None:
    names = ["x", "w", "b", *([] if mask is None else ["m"])]
    node = helper.make_node("Attention", names, ["y"], domain="com.microsoft", num_heads=HEADS, **attributes)
    stored = {"w": draw(FEATURES, 3 * WIDTH), "b": draw(3 * WIDTH), "m": mask}
    graph = helper.make_graph(
        [node],
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [BATCH, STEPS, FEATURES])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(stored[name], name) for name in names[1:]],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    with pytest.raises(UnsupportedTeacherError, match=reason):
        convert_graph(helper.make_model(graph, opset_imports=imports, ir_version=8))


def test_multi_head_attention(heads: Compare, draw: Draw) -> None:
    heads()
    heads(scale=0.2)
    heads(draw(2 * WIDTH + HEADS * 5))
    heads(None, None, draw(BATCH, HEADS, STEPS, 7))
    heads(None, None, draw(1, 1, STEPS, 7))


@pytest.mark.parametrize("shape", [(BATCH,), (BATCH, 7), (BATCH, STEPS, 7)])
def test_multi_head_attention_masks(shape: tuple[int, ...], heads: Compare) -> None:
    mask = (np.arange(np.prod(shape)) % 3).astype(np.int32).reshape(shape)
    mask = mask + 3 if len(shape) == 1 else mask  # lengths
    heads(None, mask)
    heads(None, mask, mask_filter_value=-1.0)


def test_multi_head_attention_over_earlier_keys(compare: Compare, draw: Draw) -> None:
    whole = partial(compare, "MultiHeadAttention", domain="com.microsoft", num_heads=HEADS)
    same = draw(BATCH, STEPS, WIDTH)
    earlier = draw(BATCH, HEADS, 3, SIZE)
    whole(same, same, same, unidirectional=1)
    whole(same, same, same, None, None, None, earlier, earlier, outputs=3, unidirectional=1)
    by_head = draw(BATCH, HEADS, 7, SIZE)
    whole(same, by_head, by_head)


def test_causal_attention_to_more_keys_is_declined(heads: Compare) -> None:
    with pytest.raises(ValueError, match="more keys than queries"):
        heads(unidirectional=1)
