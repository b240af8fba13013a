from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.cut import take_body
from cake_onnx.graph.operators.coupling import couple
from cake_onnx.graph.runtime import open_session

Draw = Callable[..., Any]


def _machine(classes: int, draw: Draw, kernel: str, *, chances: bool, post: str = "NONE") -> ModelProto:
    """Three support vectors a class, four features."""
    pairs, vectors = classes * (classes - 1) // 2, 3 * classes
    attributes: dict[str, Any] = {
        "kernel_type": kernel,
        "kernel_params": [0.2, 0.5, 3.0],
        "support_vectors": draw(vectors * 4).tolist(),
        "coefficients": draw((classes - 1) * vectors).tolist(),
        "vectors_per_class": [3] * classes,
        "rho": draw(pairs).tolist(),
        "classlabels_ints": list(range(classes)),
        "post_transform": post,
    }
    if chances:
        attributes |= {"prob_a": [-1.5] * pairs, "prob_b": (draw(pairs) / 5).tolist()}
    return _one_node("SVMClassifier", ["label", "scores"], attributes)


def _one_node(op: str, outputs: list[str], attributes: dict[str, Any]) -> ModelProto:
    node = helper.make_node(op, ["x"], outputs, domain="ai.onnx.ml", name="node", **attributes)
    graph = helper.make_graph(
        [node],
        "machine",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 4])],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def _both(model: ModelProto, scores: str, x: np.ndarray[Any, Any]) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """onnxruntime's scores, ours, and the gradient of a weighting of ours."""
    body = take_body(model, scores)
    wanted = open_session(body.SerializeToString()).run(None, {"x": x})[0]
    point = torch.from_numpy(x).requires_grad_()
    found = convert_graph(body).eval()(point)
    weights = torch.linspace(-1, 1, found.shape[1])
    (slope,) = torch.autograd.grad((found @ weights).sum(), point)
    return wanted, found.detach(), slope


@pytest.mark.parametrize("chances", [False, True])
@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_scores_and_probabilities(classes: int, kernel: str, chances: bool, draw: Draw) -> None:
    wanted, found, slope = _both(_machine(classes, draw, kernel, chances=chances), "scores", draw(20, 4))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0


@pytest.mark.parametrize("post", ["LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
def test_transforms_of_several_scores(post: str, draw: Draw) -> None:
    wanted, found, _ = _both(_machine(3, draw, "RBF", chances=False, post=post), "scores", draw(20, 4))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_transform_that_onnxruntime_does_not_apply_as_named_is_refused(draw: Draw) -> None:
    model = take_body(_machine(2, draw, "RBF", chances=False, post="SOFTMAX"), "scores")
    with pytest.raises(UnsupportedTeacherError, match="post_transform=SOFTMAX"):
        convert_graph(model)


def test_rows_without_support_vectors_are_linear(draw: Draw) -> None:
    rows = {"coefficients": draw(12).tolist(), "rho": [0.3, 1.0, 2.0], "classlabels_ints": [4, 5, 6]}
    rows |= {"kernel_type": "LINEAR", "kernel_params": [0.0, 0.0, 3.0]}
    wanted, found, _ = _both(_one_node("SVMClassifier", ["label", "scores"], rows), "scores", draw(9, 4))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [0, 3])
def test_regressor(count: int, draw: Draw) -> None:
    attributes = {"coefficients": draw(count or 4).tolist(), "rho": [0.3], "kernel_params": [0.2, 0.0, 3.0]}
    if count:
        attributes |= {"support_vectors": draw(12).tolist(), "n_supports": 3, "kernel_type": "RBF"}
    wanted, found, _ = _both(_one_node("SVMRegressor", ["y"], attributes), "y", draw(9, 4))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_one_class_is_refused(draw: Draw) -> None:
    attributes = {"coefficients": draw(4).tolist(), "rho": [0.3], "one_class": 1}
    with pytest.raises(UnsupportedTeacherError, match="one_class"):
        convert_graph(_one_node("SVMRegressor", ["y"], attributes))


def test_coupled_chances_that_agree_give_the_probabilities_back() -> None:
    p = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    pairs = [(0, 1), (0, 2), (1, 2)]
    chances = torch.stack([p[:, i] / (p[:, i] + p[:, j]) for i, j in pairs], dim=1)
    # The iteration stops early, so that its result is near; it starts at equal shares.
    assert (couple(chances, 3) - p).abs().max() < 0.02


def test_coupling_goes_through_vmap_and_its_gradient_is_that_of_the_solution() -> None:
    chances = torch.rand(6, 3, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    mapped = torch.vmap(lambda one: couple(one, 3))(chances)
    torch.testing.assert_close(mapped, couple(chances, 3))
    point = chances[:1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(couple(point, 3)[0, 0], point)
    step = torch.tensor([[0.1, 0.0, 0.0]])
    difference = (couple(chances[:1] + step, 3) - couple(chances[:1] - step, 3))[0, 0] / 0.2
    assert abs(float(slope[0, 0] - difference)) < 0.1 * abs(float(difference))
