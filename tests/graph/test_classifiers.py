from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.classifiers import name_sigmoids, spell_out_classifiers
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.cut import take_body
from cake_onnx.graph.runtime import open_session


def _classifier(post: str, rows: int, **labels: Any) -> ModelProto:
    rng = np.random.default_rng(rows)
    node = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        name="lc",
        coefficients=rng.standard_normal(rows * 4).astype(np.float32).tolist(),
        intercepts=rng.standard_normal(rows).astype(np.float32).tolist(),
        post_transform=post,
        **labels,
    )
    kind = TensorProto.STRING if "classlabels_strings" in labels else TensorProto.INT64
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [
            helper.make_tensor_value_info("label", kind, [None]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, None]),
        ],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


@pytest.mark.parametrize("post", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize(
    "labels", [{"classlabels_ints": [7, 3, 5]}, {"classlabels_strings": ["a", "b", "c"]}]
)
def test_the_spelling_says_what_the_operator_says(post: str, labels: dict[str, Any]) -> None:
    model = _classifier(post, rows=3, **labels)
    spelled = spell_out_classifiers(model)
    assert "LinearClassifier" not in {node.op_type for node in spelled.graph.node}
    x = np.random.default_rng(1).standard_normal((50, 4)).astype(np.float32)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})
    found = open_session(spelled.SerializeToString()).run(None, {"x": x})
    assert list(found[0]) == list(wanted[0])
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5, atol=1e-6)


def test_a_single_row_gives_two_probabilities() -> None:
    model = _classifier("LOGISTIC", rows=1, classlabels_ints=[0, 1])
    x = np.random.default_rng(1).standard_normal((50, 4)).astype(np.float32)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})
    found = open_session(spell_out_classifiers(model).SerializeToString()).run(None, {"x": x})
    assert list(found[0]) == list(wanted[0])
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [{}, {"classlabels_ints": [4, 9]}, {"classlabels_strings": ["a", "b"]}],
    ids=lambda x: str(len(x)),
)
@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
def test_a_single_row_is_spelled_as_onnxruntime_computes_it(post: str, labels: dict[str, Any]) -> None:
    model = _classifier(post, rows=1, **labels)
    spelled = spell_out_classifiers(model)
    assert post == "SOFTMAX_ZERO" or "LinearClassifier" not in {node.op_type for node in spelled.graph.node}
    x = np.random.default_rng(1).standard_normal((50, 4)).astype(np.float32)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})
    found = open_session(spelled.SerializeToString()).run(None, {"x": x})
    assert list(found[0]) == list(wanted[0])
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("post", ["SOFTMAX_ZERO", "PROBIT"])
def test_rarer_transforms_are_converted_whole(post: str) -> None:
    model = _classifier(post, rows=3, classlabels_ints=[0, 1, 2])
    body = take_body(spell_out_classifiers(model), "scores")
    # PROBIT is a number for scores between 0 and 1 only, NaN elsewhere.
    x = np.random.default_rng(1).standard_normal((50, 4)).astype(np.float32)
    wanted = open_session(body.SerializeToString()).run(None, {"x": x})[0]
    found = convert_graph(body).eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    assert np.isfinite(wanted).any()


def test_scores_made_of_the_label_of_a_machine_are_refused(parse: Callable[..., ModelProto]) -> None:
    machine = """l, s = ai.onnx.ml.SVMClassifier<classlabels_ints = [0, 1], coefficients = [1.0, -1.0],
        kernel_params = [0.1, 0.0, 3.0], kernel_type = "RBF", rho = [0.1], vectors_per_class = [1, 1],
        support_vectors = [1.0, 0.0, 0.0, 1.0]>(x)"""
    model = parse(f"g (float[B, 2] x) => (float y) {{ {machine}\n y = Cast<to = 1>(l) }}", ml=1)
    with pytest.raises(UnsupportedTeacherError, match="whose label"):
        spell_out_classifiers(model)


def test_what_has_no_spelling_is_left_alone() -> None:
    model = _classifier("PROBIT", rows=3, classlabels_ints=[0, 1, 2])
    assert spell_out_classifiers(model).graph.node[0].op_type == "LinearClassifier"


BY_HAND = {
    "reciprocal": ("n = Neg(x)\n e = Exp(n)\n t = Add(e, one)\n y = Reciprocal(t)", True),
    "quotient": ("n = Mul(minus, x)\n e = Exp(n)\n t = Add(one, e)\n y = Div(one, t)", True),
    "another sign": ("e = Exp(x)\n t = Add(e, one)\n y = Reciprocal(t)", False),
    "another number": ("n = Neg(x)\n e = Exp(n)\n t = Add(e, minus)\n y = Reciprocal(t)", False),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_sigmoid_written_by_hand_is_named(name: str, parse: Callable[..., ModelProto]) -> None:
    nodes, named = BY_HAND[name]
    numbers = {"one": np.array([1], np.float32), "minus": np.array(-1, np.float32)}
    model = parse(f"g (float[B, 3] x) => (float[B, 3] y) {{ {nodes} }}", **numbers)
    result = name_sigmoids(model)
    assert (result.graph.node[-1].op_type == "Sigmoid") is named
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    wanted, found = (open_session(m.SerializeToString()).run(None, {"x": x})[0] for m in (model, result))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
