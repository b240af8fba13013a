from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.specs import InputSpec, OutputSpec

Parse = Callable[..., ModelProto]


def test_a_plain_network(softmax_net: ModelProto) -> None:
    found, output = read_signature(softmax_net, input_range=(-1, 1))
    assert isinstance(found, InputSpec)
    assert (found.name, found.shape, found.dtype, found.layout) == ("x", (4,), "float32", "flat")
    assert (found.bounds.low, found.bounds.high) == ((-1.0,), (1.0,))
    assert output == OutputSpec("p", None, "probabilities", 3, None)


def test_a_scikit_learn_model(binary_sklearn: ModelProto) -> None:
    found, output = read_signature(binary_sklearn)
    assert found.bounds.source.startswith("Scaler")
    assert len(found.bounds.low) == 2
    assert output.class_names == ("0", "1")


def test_a_model_of_a_fixed_batch(fixed_cnn: ModelProto) -> None:
    found, output = read_signature(fixed_cnn)
    assert found.shape == (1, 6, 6)
    assert output.classes == 3


def test_scores_of_more_axes_are_counted(parse: Parse) -> None:
    model = parse("g (float[B, 5, 2, 2] x) => (float[B, 5, 1, 1] y) { y = GlobalAveragePool(x) }")
    assert read_signature(model)[1].classes == 5


def test_nan_weights_are_refused(linear: ModelProto) -> None:
    linear.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((4, 3), np.nan, np.float32), "w"))
    with pytest.raises(UnsupportedTeacherError, match="NaN in 12 of 12 values of 'w'"):
        read_signature(linear)


def test_what_onnxruntime_says_of_a_bad_model_is_shown(linear: ModelProto) -> None:
    linear.graph.node[0].op_type = "NoSuchThing"
    with pytest.raises(UnsupportedTeacherError, match="NoSuchThing"):
        read_signature(linear)


def test_a_batch_that_is_not_the_first_axis_is_refused(parse: Parse) -> None:
    model = parse(
        "g (float[3, 4] x) => (float[4, 5] y) { t = Transpose(x)\n y = MatMul(t, w) }", w=np.ones((3, 5))
    )
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((3, 5), np.float32), "w"))
    with pytest.raises(UnsupportedTeacherError, match="one row for each of 3 samples"):
        read_signature(model)


def test_reading_leaves_the_model_alone(softmax_net: ModelProto) -> None:
    before = softmax_net.SerializeToString()
    read_signature(softmax_net)
    assert softmax_net.SerializeToString() == before
