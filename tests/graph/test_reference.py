from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.load import LoadedModel
from cake_onnx.graph.reference import Reference, open_reference
from cake_onnx.teacher import load_teacher

Parse = Callable[..., ModelProto]


def _file(model: ModelProto) -> LoadedModel:
    data = model.SerializeToString()
    return LoadedModel(Path("m.onnx"), model, data, hashlib.sha256(data).hexdigest(), len(data))


def _run(reference: Reference, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(reference.session.run(None, {reference.session.get_inputs()[0].name: x})[0])


def test_a_file_that_runs_is_its_own_reference(softmax_net: ModelProto) -> None:
    reference = open_reference(_file(softmax_net))
    assert reference.model is softmax_net
    assert reference.changes == ()


def test_an_opset_too_old_for_onnxruntime_is_raised(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        "g (float[2, 4] x) => (float[2, 3] y) { y = Gemm(x, w, b) }", opset=6, w=draw(4, 3), b=draw(3)
    )
    model.graph.node[0].attribute.append(helper.make_attribute("broadcast", 1))
    reference = open_reference(_file(model))
    assert "opset 6, which onnxruntime cannot run, to opset 13" in reference.changes[0]
    x = draw(2, 4)
    np.testing.assert_allclose(_run(reference, x), x @ draw(4, 3) + draw(3), rtol=1e-5, atol=1e-5)


def test_brain_floats_are_judged_in_float32(parse: Parse, draw: Callable[..., Any], tmp_path: Path) -> None:
    text = """g (bfloat16[B, 4] x) => (bfloat16[B, 3] y) {
         h = MatMul(x, w)
         y = Relu(h)
    }"""
    model = parse(text)
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, [4, 3], draw(4, 3).flatten())
    model.graph.initializer.append(weight)
    reference = open_reference(_file(model))
    assert "float32" in reference.changes[0]
    x = draw(2, 4)
    np.testing.assert_allclose(
        _run(reference, x), np.maximum(x @ numpy_helper.to_array(weight).astype(np.float32), 0), rtol=1e-5
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    teacher = load_teacher(tmp_path / "m.onnx")
    assert teacher.changes == reference.changes
    assert teacher.data == reference.runnable(teacher.file) != teacher.file.data


def test_a_large_literal_batch_is_freed_and_said(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[64, 4, 2] x) => (float[64, 3] y) {
             f = Reshape(x, target)
             y = MatMul(f, w)
        }""",
        target=np.array([64, 8], dtype=np.int64),
        w=draw(8, 3),
    )
    reference = open_reference(_file(model))
    assert "batch of 64" in reference.changes[0]
    x = draw(5, 4, 2)
    np.testing.assert_allclose(_run(reference, x), x.reshape(5, 8) @ draw(8, 3), rtol=1e-5, atol=1e-6)


def test_a_batch_that_the_samples_share_is_not_freed(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[64, 4] x) => (float[64, 3] y) {
             m = ReduceMean<axes = [0], keepdims = 1>(x)
             c = Sub(x, m)
             y = MatMul(c, w)
        }""",
        w=draw(4, 3),
    )
    reference = open_reference(_file(model))
    assert reference.changes == ()
    assert reference.session.get_inputs()[0].shape == [64, 4]


def test_an_operator_nobody_defines_is_named(linear: ModelProto) -> None:
    node = linear.graph.node[0]
    node.op_type, node.domain, node.name = "Quant", "finn.custom", "first"
    with pytest.raises(UnsupportedTeacherError, match=r"Quant \(domain finn\.custom.*node 'first'.*function"):
        open_reference(_file(linear))


def test_other_refusals_are_those_of_onnxruntime(linear: ModelProto) -> None:
    linear.opset_import[0].version = 999
    with pytest.raises(UnsupportedTeacherError, match="999"):
        open_reference(_file(linear))
