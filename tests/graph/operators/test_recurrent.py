"""RNN, GRU, LSTM against onnxruntime: every output, direction, option and activation."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.fold import fold_constants
from cake_onnx.graph.normalise import normalise
from cake_onnx.graph.operators import fused_recurrent, recurrent
from cake_onnx.graph.runtime import open_session

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
OUTPUTS = ("Y", "Y_h", "Y_c")
STEPS, BATCH, FEATURES, HIDDEN = 4, 3, 2, 5

Array = np.ndarray[Any, Any]


def _draw(*shape: int) -> Array:
    return (0.5 * np.random.default_rng(sum(shape)).standard_normal(shape)).astype(np.float32)


def _model(
    op: str,
    output: str,
    *,
    opset: int = 14,
    direction: str = "forward",
    given: tuple[str, ...] = ("B",),
    lengths: list[int] | None = None,
    batch: int | str = BATCH,
    **attributes: Any,
) -> ModelProto:
    """One recurrent node of which one output is read; `given` names the optional inputs it has."""
    directions, gates = (2 if direction == "bidirectional" else 1), GATES[op]
    stored = {
        "W": _draw(directions, gates * HIDDEN, FEATURES),
        "R": _draw(directions, gates * HIDDEN, HIDDEN),
        "B": _draw(directions, 2 * gates * HIDDEN),
        "sequence_lens": np.array(lengths or [], np.int32),
        "initial_h": _draw(directions, BATCH, HIDDEN),
        "initial_c": _draw(directions, BATCH, HIDDEN) + 1,
        "P": _draw(directions, 3 * HIDDEN),
    }
    wanted = {"W", "R", *given, *(["sequence_lens"] if lengths else [])}
    names = [name if name in wanted else "" for name in stored]
    names = names[: 5 if op != "LSTM" else 7]
    made = [name if name == output else "" for name in OUTPUTS[: OUTPUTS.index(output) + 1]]
    node = helper.make_node(
        op, ["X", *names], made, name="node", hidden_size=HIDDEN, direction=direction, **attributes
    )
    graph = helper.make_graph(
        [node],
        "recurrent",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [STEPS, batch, FEATURES])],
        [helper.make_empty_tensor_value_info(output)],
        [numpy_helper.from_array(stored[name], name) for name in names if name],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _check(model: ModelProto) -> torch.nn.Module:
    x = _draw(STEPS, BATCH, FEATURES)
    wanted = np.asarray(open_session(model.SerializeToString()).run(None, {"X": x})[0])
    module, point = convert_graph(model).eval(), torch.from_numpy(x).requires_grad_()
    found = module(point)
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-4, atol=1e-6)
    (slope,) = torch.autograd.grad(found.square().sum(), point)
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0
    return module


def _outputs(op: str) -> tuple[str, ...]:
    return OUTPUTS if op == "LSTM" else OUTPUTS[:2]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", list(GATES))
def test_every_output_in_every_direction(op: str, direction: str) -> None:
    for output in _outputs(op):
        _check(_model(op, output, direction=direction))
        _check(_model(op, output, direction=direction, given=("B", "initial_h", "initial_c")))
        _check(_model(op, output, direction=direction, lengths=[4, 1, 3]))


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("opset", [7, 14, 22])
def test_versions(op: str, opset: int) -> None:
    _check(_model(op, "Y_h", opset=opset, given=()))


@pytest.mark.parametrize("op", list(GATES))
def test_a_sample_without_steps_ends_in_zeros(op: str) -> None:
    for output in _outputs(op):
        _check(_model(op, output, given=("B", "initial_h", "initial_c"), lengths=[2, 0, 4]))


@pytest.mark.parametrize("op", list(GATES))
def test_clip(op: str) -> None:
    _check(_model(op, "Y", clip=0.1))


def test_clip_of_an_lstm_does_not_reach_the_cell() -> None:
    # So does onnxruntime; the specification says nothing of it.
    _check(_model("LSTM", "Y", clip=0.1, given=("B", "initial_h", "initial_c")))
    _check(_model("LSTM", "Y", clip=0.1, given=("B", "initial_h", "initial_c"), input_forget=1))


def test_peepholes_and_coupled_gates() -> None:
    _check(_model("LSTM", "Y_c", given=("B", "P", "initial_c")))
    _check(_model("LSTM", "Y", given=("B", "P"), input_forget=1, direction="bidirectional"))


@pytest.mark.parametrize("linear", [0, 1])
def test_reset_gate_before_or_after_the_product(linear: int) -> None:
    _check(_model("GRU", "Y", linear_before_reset=linear, direction="bidirectional"))
    _check(_model("GRU", "Y", linear_before_reset=linear, clip=0.2))


@pytest.mark.parametrize(
    ("name", "alpha", "beta"),
    [
        *[("Relu", None, None), ("Tanh", None, None), ("Sigmoid", None, None), ("Softsign", None, None)],
        *[("Softplus", None, None), ("LeakyRelu", None, None), ("HardSigmoid", None, None)],
        *[
            ("Elu", None, None),
            ("Affine", 0.4, 0.1),
            ("LeakyRelu", 0.3, None),
            ("ThresholdedRelu", 0.01, None),
        ],
        *[("ScaledTanh", 0.7, 0.8), ("HardSigmoid", 0.3, 0.4), ("Elu", 0.7, None)],
    ],
)
@pytest.mark.parametrize("op", list(GATES))
def test_activations(op: str, name: str, alpha: float | None, beta: float | None) -> None:
    count = FUNCTIONS[op] * 2
    values = {"activation_alpha": alpha, "activation_beta": beta}
    lists: dict[str, Any] = {
        key: [value + 0.01 * i for i in range(count)] for key, value in values.items() if value
    }
    _check(_model(op, "Y", direction="bidirectional", activations=[name] * count, **lists))


def test_only_activations_with_a_parameter_take_one_from_the_list() -> None:
    names = ["HardSigmoid", "Tanh", "Affine"]
    values: dict[str, Any] = {"activation_alpha": [0.3, 0.9], "activation_beta": [0.4, 0.1]}
    _check(_model("LSTM", "Y", activations=names, **values))


@pytest.mark.parametrize(
    "attributes",
    [
        {"activations": ["Swish", "Tanh", "Tanh"]},
        {"activations": ["Sigmoid", "Tanh"]},
        {"activations": ["Affine", "Tanh", "Tanh"]},
        {"activations": ["Sigmoid", "Tanh", "Tanh"], "activation_alpha": [0.1]},
        {"direction": "sideways"},
        {"projection": 3},
    ],
)
def test_what_is_not_known_is_declined(attributes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedTeacherError):
        convert_graph(_model("LSTM", "Y", **attributes))


@pytest.mark.parametrize("op", list(GATES))
def test_batch_first(op: str) -> None:
    # onnxruntime lacks this layout, so the same layer in the other one judges.
    for output in _outputs(op):
        swapped = _model(op, output, direction="bidirectional", lengths=[2, 4, 3], layout=1)
        swapped.graph.input[0].CopyFrom(helper.make_tensor_value_info("X", TensorProto.FLOAT, None))
        plain = _model(op, output, direction="bidirectional", lengths=[2, 4, 3])
        x = torch.from_numpy(_draw(STEPS, BATCH, FEATURES))
        wanted = convert_graph(plain)(x)
        wanted = wanted.permute(2, 0, 1, 3) if output == "Y" else wanted.transpose(0, 1)
        torch.testing.assert_close(convert_graph(swapped)(x.transpose(0, 1)), wanted)


@pytest.mark.parametrize("op", list(GATES))
def test_sample_by_sample_under_vmap(op: str) -> None:
    attributes: dict[str, Any] = {"linear_before_reset": 1} if op == "GRU" else {}
    module = convert_graph(_model(op, "Y", direction="bidirectional", **attributes))
    x = torch.from_numpy(_draw(STEPS, BATCH, FEATURES))
    mapped = torch.vmap(lambda one: module(one.unsqueeze(1)).squeeze(2), in_dims=1, out_dims=2)(x)
    torch.testing.assert_close(mapped, module(x))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", list(GATES))
def test_the_kernel_and_the_walk_agree(op: str, direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attributes: dict[str, Any] = {"linear_before_reset": 1} if op == "GRU" else {}
    model = _model(op, "Y", direction=direction, given=("B", "initial_h", "initial_c"), **attributes)
    called = []
    key = next(key for key in fused_recurrent.QUICK if key[0] == op)
    kernel = fused_recurrent.QUICK[key]

    def counted(*tensors: Any, **options: Any) -> Any:
        called.append(op)
        return kernel(*tensors, **options)

    monkeypatch.setitem(fused_recurrent.QUICK, key, counted)
    by_kernel = _check(model)
    assert called == [op]
    monkeypatch.setattr(recurrent, "QUICK", {})
    walked = convert_graph(model)
    x = torch.from_numpy(_draw(STEPS, BATCH, FEATURES)).requires_grad_()
    slopes = [torch.autograd.grad(module(x).square().sum(), x)[0] for module in (by_kernel, walked)]
    torch.testing.assert_close(slopes[0], slopes[1])


class _Network(nn.Module):
    """Two layers in both directions, and scores from the last output and the last state."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.layers = kind(FEATURES, HIDDEN, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * HIDDEN, 3)

    def forward(self, x: Tensor) -> Tensor:
        sequence, states = self.layers(x)
        last = states[0] if isinstance(states, tuple) else states
        scores: Tensor = self.head(sequence[:, -1] + torch.cat([last[0], last[-1]], dim=1))
        return scores


@pytest.mark.parametrize(("kind", "dynamo"), [(nn.GRU, False), (nn.LSTM, True)])
def test_what_torch_writes(kind: type[nn.LSTM | nn.GRU], dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = _Network(kind).eval(), tmp_path / "recurrent.onnx"
    any_batch: dict[str, Any] = {"dynamic_axes": {"x": {0: "batch"}}, "opset_version": 17}
    if dynamo:
        any_batch = {"dynamic_shapes": ({0: torch.export.Dim("batch")},), "verbose": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            *(module, (torch.zeros(2, STEPS, FEATURES),), path), dynamo=dynamo, input_names=["x"], **any_batch
        )
    converted = convert_graph(fold_constants(normalise(onnx.load(path))))
    x = torch.from_numpy(_draw(5, STEPS, FEATURES)).requires_grad_()
    torch.testing.assert_close(converted(x), module(x))
    slopes = [torch.autograd.grad(each(x).square().sum(), x)[0] for each in (converted, module)]
    torch.testing.assert_close(slopes[0], slopes[1])
