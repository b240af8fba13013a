"""Small models of every kind, built on the spot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper, parser


@pytest.fixture
def parse() -> Callable[..., ModelProto]:
    """A model from its text; keyword arguments are added as weights of that name."""

    def build(
        text: str, opset: int = 17, ml: int | None = None, ir: int = 8, **weights: np.ndarray[Any, Any]
    ) -> ModelProto:
        imports = f'"" : {opset}' + (f', "ai.onnx.ml" : {ml}' if ml else "")
        model = parser.parse_model(f"<ir_version: {ir}, opset_import: [{imports}]>\n{text}")
        for name, values in weights.items():
            model.graph.initializer.append(numpy_helper.from_array(values, name))
        return model

    return build


@pytest.fixture
def draw() -> Callable[..., np.ndarray[Any, Any]]:
    """`draw(*shape)`: float32 standard normal numbers, the same each time for the same shape."""

    def normal(*shape: int) -> np.ndarray[Any, Any]:
        return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)

    return normal


@pytest.fixture
def linear(parse: Callable[..., ModelProto], draw: Callable[..., Any]) -> ModelProto:
    """Four features to three logits."""
    return parse("linear (float[B, 4] x) => (float[B, 3] y) { y = MatMul(x, w) }", w=draw(4, 3))


@pytest.fixture
def softmax_net(parse: Callable[..., ModelProto], draw: Callable[..., Any]) -> ModelProto:
    """Four features, one hidden layer, three probabilities."""
    return parse(
        """net (float[B, 4] x) => (float[B, 3] p) {
             h = Gemm(x, w1, b1)
             a = Relu(h)
             z = Gemm(a, w2, b2)
             p = Softmax<axis = 1>(z)
        }""",
        w1=draw(4, 8),
        b1=draw(8),
        w2=draw(8, 3),
        b2=draw(3),
    )


@pytest.fixture
def sigmoid_net(parse: Callable[..., ModelProto], draw: Callable[..., Any]) -> ModelProto:
    """Four features to a single probability."""
    return parse("net (float[B, 4] x) => (float[B, 1] p) { s = MatMul(x, w)\n p = Sigmoid(s) }", w=draw(4, 1))


@pytest.fixture
def fixed_cnn(parse: Callable[..., ModelProto], draw: Callable[..., Any]) -> ModelProto:
    """An image model tied to a batch of 1 by its input and by a reshape."""
    return parse(
        """cnn (float[1, 1, 6, 6] image) => (float[1, 3] y) {
             c = Conv(image, k)
             r = Relu(c)
             f = Reshape(r, target)
             y = MatMul(f, w)
        }""",
        k=draw(2, 1, 3, 3),
        target=np.array([1, 32], dtype=np.int64),
        w=draw(32, 3),
    )


@pytest.fixture
def binary_sklearn() -> ModelProto:
    """Logistic regression on two features, as scikit-learn's converter writes it: label and map outputs."""
    return _sklearn(classes=2)


@pytest.fixture
def multi_sklearn() -> ModelProto:
    """Scaled logistic regression of three classes named by text."""
    return _sklearn(classes=3)


def _sklearn(classes: int) -> ModelProto:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=120)
    x = (rng.standard_normal((120, 2)) + y[:, None] * [2.0, -1.0]).astype(np.float32)
    names = np.array(["ant", "bee", "cat"])[y] if classes == 3 else y
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, names)
    converted: ModelProto = to_onnx(model, x[:1], target_opset={"": 17, "ai.onnx.ml": 3})
    return converted


@pytest.fixture
def quantised_net(draw: Callable[..., Any]) -> ModelProto:
    """Four features to three logits through int8 quantise and dequantise pairs, weights per axis."""
    scale = np.float32(0.05)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], axis=1),
        helper.make_node("MatMul", ["xd", "w"], ["y"]),
    ]
    stored = {
        "s": np.array(scale),
        "zero": np.array(0, dtype=np.int8),
        "wq": np.clip(draw(4, 3) * 40, -127, 127).astype(np.int8),
        "ws": np.array([0.02, 0.03, 0.04], dtype=np.float32),
        "wz": np.zeros(3, dtype=np.int8),
    }
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["B", 4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["B", 3])],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
