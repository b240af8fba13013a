from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import ModelProto, helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.normalise import (
    drop_initializer_inputs,
    inline_functions,
    name_nodes,
    normalise,
    sort_nodes,
    use_default_domain,
)


def test_the_standard_domain_has_one_spelling(linear: ModelProto) -> None:
    linear.opset_import[0].domain = "ai.onnx"
    linear.graph.node[0].domain = "ai.onnx"
    result = use_default_domain(linear)
    assert [entry.domain for entry in result.opset_import] == [""]
    assert result.graph.node[0].domain == ""
    assert linear.graph.node[0].domain == "ai.onnx", "the model given is not changed"


def test_functions_are_inlined() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
    net (float[B, 2] x) => (float[B, 2] y) { y = mine.twice(x) }
    <domain: "mine", opset_import: ["" : 17]>
    twice (a) => (b) { b = Add(a, a) }"""
    result = inline_functions(onnx.parser.parse_model(text))
    assert [node.op_type for node in result.graph.node] == ["Add"]


def test_weights_are_no_inputs(linear: ModelProto) -> None:
    linear.ir_version = 3
    linear.graph.input.append(helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4, 3]))
    result = drop_initializer_inputs(linear)
    assert [value.name for value in result.graph.input] == ["x"]
    assert result.ir_version >= 4, "older versions demand that weights are inputs"


def test_nodes_are_sorted(softmax_net: ModelProto) -> None:
    nodes = list(softmax_net.graph.node)
    del softmax_net.graph.node[:]
    softmax_net.graph.node.extend(reversed(nodes))
    result = sort_nodes(softmax_net)
    assert [node.op_type for node in result.graph.node] == ["Gemm", "Relu", "Gemm", "Softmax"]


def test_a_tensor_from_nowhere_is_refused(linear: ModelProto) -> None:
    linear.graph.node[0].input[0] = "ghost"
    with pytest.raises(UnsupportedTeacherError, match="'ghost'"):
        sort_nodes(linear)


def test_sorting_sees_what_a_subgraph_captures(parse: Callable[..., ModelProto]) -> None:
    model = parse(
        """net (float[B, 2] x, bool c) => (float[B, 2] y) {
             y = If (c) <
               then_branch = g1 () => (float[B, 2] t) { t = Identity(late) },
               else_branch = g2 () => (float[B, 2] e) { e = Neg(late) }
             >
             late = Relu(x)
        }"""
    )
    assert [node.op_type for node in sort_nodes(model).graph.node] == ["Relu", "If"]


def test_names_are_unique(softmax_net: ModelProto) -> None:
    for node in softmax_net.graph.node:
        node.name = "same"
    names = [node.name for node in name_nodes(softmax_net).graph.node]
    assert names[0] == "same"
    assert len(set(names)) == 4


def test_all_steps_keep_a_plain_model_valid(softmax_net: ModelProto) -> None:
    onnx.checker.check_model(normalise(softmax_net), full_check=True)
