from __future__ import annotations

from collections.abc import Callable

import pytest
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.refuse import refuse_unknown, refuse_unsupported, refuse_without_gradient, unsupported

Parse = Callable[..., ModelProto]


def test_a_refusal_says_everything(parse: Parse) -> None:
    model = parse(
        "g (float[B, 4] x) => (int64[B] l, float[B, 3] p) { l, p = ai.onnx.ml.TreeEnsembleClassifier(x) }",
        ml=3,
    )
    model.graph.node[0].name = "forest"
    with pytest.raises(UnsupportedTeacherError) as caught:
        refuse_without_gradient(model)
    text = str(caught.value)
    for part in (
        *("TreeEnsembleClassifier", "domain ai.onnx.ml", "version 3", "node 'forest'"),
        *("gradient is zero", "neural network or a linear classifier"),
    ):
        assert part in text


def test_versions_are_those_the_file_imports(parse: Parse) -> None:
    for opset, version in ((10, 9), (11, 11), (17, 16)):
        model = parse("g (float[B, 4] x) => (float[B, 4] y) { y = Where(x, x, x) }", opset=opset)
        assert f"version {version if version != 11 else 9})" in str(unsupported(model, model.graph.node[0]))


@pytest.mark.parametrize(
    ("op", "domain", "why"),
    [
        ("StringNormalizer", "", "works on text"),
        ("LabelEncoder", "ai.onnx.ml", "looks labels or text up"),
        ("Loop", "", "how often it runs depends on the data"),
        ("Multinomial", "", "draws at random"),
        ("BeamSearch", "com.microsoft", "not converted yet"),
        ("Quant", "finn", "does not hold its definition"),
    ],
)
def test_reasons(op: str, domain: str, why: str, linear: ModelProto) -> None:
    node = linear.graph.node[0]
    node.op_type, node.domain = op, domain
    with pytest.raises(UnsupportedTeacherError, match=why):
        refuse_unsupported(linear)


def test_functions_in_the_file_are_no_unknown_operators(linear: ModelProto) -> None:
    node = linear.graph.node[0]
    node.op_type, node.domain = "twice", "mine"
    with pytest.raises(UnsupportedTeacherError, match="twice"):
        refuse_unknown(linear)
    function = linear.functions.add()
    function.name, function.domain = "twice", "mine"
    refuse_unknown(linear)
