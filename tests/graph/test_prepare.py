from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.check import check_parity
from cake_onnx.graph.convert import convert
from cake_onnx.graph.prepare import Prepared, prepare
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.signature import read_signature

Parse = Callable[..., ModelProto]


def _prepare(model: ModelProto) -> Prepared:
    return prepare(model, *read_signature(model))


def _kinds(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_softmax_goes_to_the_tail(softmax_net: ModelProto) -> None:
    before = softmax_net.SerializeToString()
    prepared = _prepare(softmax_net)
    assert _kinds(prepared.body) == ["Gemm", "Relu", "Gemm"]
    assert _kinds(prepared.tail) == ["Softmax"]
    assert (prepared.cut.tensor, prepared.cut.relation) == ("z", "identity")
    assert prepared.fixed_batch is None
    assert not prepared.quantised
    assert softmax_net.SerializeToString() == before
    onnx.checker.check_model(prepared.body, full_check=True)


def test_a_single_probability(sigmoid_net: ModelProto) -> None:
    assert _prepare(sigmoid_net).cut.relation == "one_score"


def test_scikit_learn_binary_and_multi(binary_sklearn: ModelProto, multi_sklearn: ModelProto) -> None:
    assert _prepare(binary_sklearn).cut.relation in ("one_score", "one_vs_rest")
    multi = _prepare(multi_sklearn)
    assert multi.cut.relation == "identity"
    assert "ZipMap" in _kinds(multi.tail)
    assert set(_kinds(multi.body)) <= {"Scaler", "Cast", "MatMul", "Add"}


def test_probabilities_that_cannot_be_cut(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 3] y) {
             z = MatMul(x, w)
             e = Softplus(z)
             s = ReduceSum<keepdims = 1>(e, one)
             y = Div(e, s)
        }""",
        w=draw(4, 3),
        one=np.array([1], dtype=np.int64),
    )
    prepared = _prepare(model)
    assert prepared.cut.relation == "log"
    assert _kinds(prepared.tail) == []


def test_a_fixed_batch_is_freed(fixed_cnn: ModelProto) -> None:
    prepared = _prepare(fixed_cnn)
    assert prepared.fixed_batch is None
    assert prepared.body.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_a_batch_that_cannot_be_freed_is_said(parse: Parse, draw: Callable[..., Any]) -> None:
    # The batch is hidden in the middle of a target, where no rewriting finds it.
    model = parse(
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
    assert _prepare(model).fixed_batch == 1


def test_what_a_tail_computes_from_the_batch_does_not_tie_it_to_the_input(
    parse: Parse, draw: Callable[..., Any]
) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 3] p) {
             z = MatMul(x, w)
             q = Softmax<axis = 1>(z)
             s = Shape(x)
             b = Slice(s, zero, one)
             t = Concat<axis = 0>(b, three)
             p = Reshape(q, t)
        }""",
        w=draw(4, 3),
        zero=np.array([0], dtype=np.int64),
        one=np.array([1], dtype=np.int64),
        three=np.array([3], dtype=np.int64),
    )
    prepared = _prepare(model)
    assert prepared.cut.tensor == "z"
    assert _kinds(prepared.tail) == ["Softmax", "Reshape"]


def test_outputs_stay_as_the_teacher_declares_them(multi_sklearn: ModelProto) -> None:
    assert list(_prepare(multi_sklearn).tail.graph.output) == list(multi_sklearn.graph.output)


def test_a_quantised_model_says_so(quantised_net: ModelProto) -> None:
    assert _prepare(quantised_net).quantised


def test_scores_that_ignore_the_input_are_refused(parse: Parse) -> None:
    model = parse(
        """g (float[B, 3] x) => (float[B, 3] y) {
             s = Shape(x)
             y = ConstantOfShape(s)
        }"""
    )
    # ConstantOfShape reads the input for its shape alone: connected, yet without a gradient.
    spec, output = read_signature(model)
    prepared = prepare(model, spec, output)
    session = open_session(model.SerializeToString())
    module = convert(prepared, spec)
    with pytest.raises(UnsupportedTeacherError, match="gradient of the scores"):
        check_parity(module, session, spec, output, prepared, seed=0)


def test_trees_and_neighbours_are_named() -> None:
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier

    x, y = load_iris(return_X_y=True)
    for model, word in [
        (RandomForestClassifier(2), "TreeEnsembleClassifier"),
        (KNeighborsClassifier(), "Scan|TopK"),
    ]:
        converted = to_onnx(model.fit(x, y), x[:1].astype(np.float32), target_opset=17)
        with pytest.raises(UnsupportedTeacherError, match=word):
            _prepare(converted)
