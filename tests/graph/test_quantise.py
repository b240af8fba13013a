"""Float models turned into integer ones, judged by onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from cake_onnx.errors import RunFailedError, UsageError
from cake_onnx.graph.inspect import is_quantised, parameter_count
from cake_onnx.graph.quantise import quantise
from cake_onnx.graph.runtime import draw_inputs, open_session, scores
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.wiring import Wiring
from cake_onnx.teacher import Teacher, load_teacher

Parse = Callable[..., ModelProto]
NAMES = ("digits_cnn", "digits_mlp_sklearn", "digits_softmax_dynamo", "moons_mlp")


def quantised(model: ModelProto, n: int = 200) -> ModelProto:
    spec, _ = read_signature(model)
    return onnx.load_from_string(quantise(model.SerializeToString(), draw_inputs(spec, n, seed=0), spec))


def rounded(model: ModelProto) -> list[str]:
    """Operators whose results are rounded, in order."""
    maker = Wiring(model.graph).maker
    names = [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    return [maker[name].op_type if name in maker else "input" for name in names]


@pytest.fixture(scope="module")
def teachers(fixtures: Path) -> dict[str, Teacher]:
    return {name: load_teacher(fixtures / f"{name}.onnx") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_smaller_drop_in_that_says_nearly_the_same(name: str, teachers: dict[str, Teacher]) -> None:
    teacher = teachers[name]
    before = teacher.file.path.read_bytes()
    after = quantise(before, draw_inputs(teacher.input, 500, seed=0), teacher.input)
    assert is_quantised(onnx.load_from_string(after))
    assert len(after) < 0.8 * len(before)
    assert parameter_count(onnx.load_from_string(after)) == teacher.parameters
    one, other = open_session(before), open_session(after)
    for these, those in ((one.get_inputs(), other.get_inputs()), (one.get_outputs(), other.get_outputs())):
        assert [(e.name, e.type, e.shape) for e in these] == [(e.name, e.type, e.shape) for e in those]
    x = draw_inputs(teacher.input, 300, seed=1)
    said = [scores(session, teacher.input, teacher.output, x) for session in (one, other)]
    assert (said[0].argmax(1) == said[1].argmax(1)).mean() > 0.95
    assert np.abs(said[0] - said[1]).max() > 0


def test_the_same_model_and_samples_give_the_same_bytes(softmax_net: ModelProto) -> None:
    assert quantised(softmax_net) == quantised(softmax_net)


def test_weights_leave_a_bit_out(softmax_net: ModelProto) -> None:
    """With all 8, sums of products are cut off by x86 processors without VNNI."""
    weights = [numpy_helper.to_array(entry) for entry in quantised(softmax_net).graph.initializer]
    found = [weight for weight in weights if weight.dtype == np.int8 and weight.ndim == 2]
    assert [weight.shape for weight in found] == [(4, 8), (8, 3)]
    assert all(60 < np.abs(weight.astype(int)).max() <= 64 for weight in found)


def test_a_bias_may_be_a_table_of_one_row(parse: Parse, draw: Any) -> None:
    """As old exporters of Keras and CNTK write it."""
    text = "net (float[B, 4] x) => (float[B, 3] y) { y = Gemm(x, w, b) }"
    flat, table = (parse(text, w=draw(4, 3), b=draw(3).reshape(shape)) for shape in ((3,), (1, 3)))
    assert quantised(table) == quantised(flat)


def test_scores_are_not_rounded(softmax_net: ModelProto) -> None:
    assert rounded(quantised(softmax_net)) == ["input", "Gemm"]


def test_a_convolution_keeps_its_rounding_where_it_is_the_last_layer(parse: Parse, draw: Any) -> None:
    model = parse(
        """cnn (float[B, 8, 6, 6] x) => (float[B, 3] y) {
             c = Conv(x, k)
             g = GlobalAveragePool(c)
             y = Flatten(g)
        }""",
        k=draw(3, 8, 3, 3),
    )
    assert rounded(quantised(model)) == ["input", "Conv"]


@pytest.mark.parametrize(
    ("channels", "groups", "stays"), [(7, 1, True), (8, 1, False), (8, 8, False), (4, 4, True)]
)
def test_a_convolution_of_few_channels_stays_in_float(
    channels: int, groups: int, stays: bool, parse: Parse, draw: Any
) -> None:
    model = parse(
        f"""cnn (float[B, {channels}, 6, 6] x) => (float[B, 3] y) {{
             c = Conv<group = {groups}>(x, k)
             f = Flatten(c)
             y = Gemm(f, w)
        }}""",
        k=draw(8, channels // groups, 3, 3),
        w=draw(128, 3),
    )
    model.graph.node[0].name = "first"
    assert ("input" in rounded(quantised(model))) is not stays


def test_a_score_that_is_an_output_and_is_read_keeps_its_name(parse: Parse, draw: Any) -> None:
    model = parse(
        """net (float[B, 4] x) => (float[B, 3] z, float[B, 3] p) {
             z = Gemm(x, w, b)
             p = Softmax<axis = 1>(z)
        }""",
        w=draw(4, 3),
        b=draw(3),
    )
    found = quantised(model)
    assert rounded(found) == ["input"]
    assert [node.input[0] for node in found.graph.node if node.op_type == "Softmax"] == ["z"]


def test_what_is_added_has_short_names_that_nothing_else_has(parse: Parse, draw: Any) -> None:
    model = parse(
        "net (float[B, 4] q0) => (float[B, 3] q2) { q1 = Gemm(q0, w)\n q2 = Softmax<axis = 1>(q1) }",
        w=draw(4, 3),
    )
    found = quantised(model)
    names = {name for node in found.graph.node for name in (*node.input, *node.output)}
    assert {"q0", "q1", "q2"} < names
    assert max(map(len, names)) <= 3
    softmax = next(node for node in found.graph.node if node.op_type == "Softmax")
    assert list(softmax.input) == ["q1"]


def test_metadata_and_producer_stay(linear: ModelProto) -> None:
    linear.producer_name = "somebody"
    linear.metadata_props.add(key="names", value='["a"]')
    found = quantised(linear)
    assert found.producer_name == "somebody"
    assert [(entry.key, entry.value) for entry in found.metadata_props] == [("names", '["a"]')]


def test_integers_go_in_as_the_model_takes_them(parse: Parse, draw: Any) -> None:
    model = parse(
        """net (uint8[B, 4] x) => (float[B, 3] y) {
             f = Cast<to = 1>(x)
             y = MatMul(f, w)
        }""",
        w=draw(4, 3),
    )
    found = quantised(model)
    assert found.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert rounded(found) == ["Cast"]


def test_a_model_without_layers_is_refused(parse: Parse, draw: Any) -> None:
    model = parse("net (float[B, 4] x) => (float[B, 4] y) { y = Mul(x, w) }", w=draw(4))
    with pytest.raises(UsageError, match=r"Conv of 8 channels and more; found none"):
        quantised(model)


def test_a_failure_names_its_cause(linear: ModelProto) -> None:
    spec, _ = read_signature(linear)
    with pytest.raises(RunFailedError, match=r"Leave --quantize out, and report") as caught:
        quantise(linear.SerializeToString(), np.zeros((2, 5), np.float32), spec)
    assert caught.value.__cause__ is not None


def test_nothing_is_said(linear: ModelProto, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handler = logging.StreamHandler()
    root.addHandler(handler)
    try:
        quantised(linear)
    finally:
        root.removeHandler(handler)
    assert capfd.readouterr() == ("", "")
    assert root.level == logging.WARNING
