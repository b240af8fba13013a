"""Small nets as torch exports them, quantised by onnxruntime's own tools, through every step of a teacher."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from torch import Tensor, nn

from cake_onnx.graph.convert import convert, convert_graph
from cake_onnx.graph.float32 import without_rounding
from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.signature import read_signature
from cake_onnx.students.like_teacher import grow_down
from cake_onnx.teacher import load_teacher

Array = np.ndarray[Any, Any]


class Residual(nn.Module):
    """Three-channel images to four logits: a shortcut, a depthwise convolution, a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.gate = nn.Conv2d(8, 8, 1)
        self.last = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(self.first(x))
        second = nn.functional.leaky_relu(self.second(first) + first, 0.1)
        gated = second * torch.sigmoid(self.gate(second))
        pooled = torch.cat([nn.functional.avg_pool2d(gated, 2), nn.functional.max_pool2d(second, 2)], 1)
        scores: Tensor = self.last(pooled.mean((2, 3)))
        return scores


class Tokens(nn.Module):
    """Six tokens of eight numbers to four logits, with attention: a product of two computed matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.joined = nn.Linear(8, 24)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.joined(self.norm(x)).chunk(3, dim=-1)
        weights = torch.softmax(query @ key.transpose(1, 2) / 8**0.5, dim=-1)
        scores: Tensor = self.last((weights @ value + x).mean(1))
        return scores


SHAPES = {"residual": (3, 8, 8), "tokens": (6, 8)}


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Two batches of normal numbers."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        rng = np.random.default_rng(1)
        self._batches: Iterator[dict[str, Array]] = iter(
            [{"x": rng.standard_normal((16, *shape)).astype(np.float32)} for _ in range(2)]
        )

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)


@pytest.fixture(scope="module")
def float_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The nets in floats, exported."""
    folder = tmp_path_factory.mktemp("floats")
    torch.manual_seed(0)
    files = {}
    for name, net in {"residual": Residual(), "tokens": Tokens()}.items():
        for parameter in net.parameters():
            parameter.data *= 2
        files[name] = folder / f"{name}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net.eval(),
                (torch.zeros(2, *SHAPES[name]),),
                files[name],
                dynamo=False,
                opset_version=17,
                input_names=["x"],
                output_names=["y"],
                dynamic_axes={"x": {0: "B"}, "y": {0: "B"}},
            )
    return files


@pytest.fixture
def quantise(float_files: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """`quantise(name, dynamic=False, **options)`: the file of a net, quantised."""

    def run(name: str, *, dynamic: bool = False, **options: Any) -> Path:
        target = tmp_path / f"{name}.onnx"
        # The quantiser writes advice to the log and progress to the terminal.
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere:
                warnings.simplefilter("ignore")
                with redirect_stdout(nowhere):
                    if dynamic:
                        quantize_dynamic(float_files[name], target, **options)
                    else:
                        quantize_static(float_files[name], target, Calibration(SHAPES[name]), **options)
        finally:
            logging.disable(logging.NOTSET)
        return target

    return run


def optimised(path: Path) -> Path:
    """The file as onnxruntime's optimiser writes it, whose operators are of com.microsoft."""
    target = path.with_suffix(".optimised.onnx")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return target


def require_agreement(path: Path, *, share: float = 0.0) -> ModelProto:
    """Compare values sample by sample, and gradients; `share` of the samples may round differently."""
    model = onnx.load(path)
    input, output = read_signature(model)
    body = prepare(model, input, output).body
    module = convert_graph(body).eval()
    x = np.random.default_rng(2).standard_normal((32, *input.shape)).astype(np.float32)
    session = open_session(model.SerializeToString())
    wanted = np.concatenate([session.run(None, {"x": row[None]})[0] for row in x])
    point = torch.from_numpy(x).requires_grad_()
    found = torch.vmap(lambda one: module(one.unsqueeze(0)).squeeze(0))(point)
    off = np.abs(found.detach().numpy() - wanted).max(axis=1)
    assert (off > 1e-4 * np.abs(wanted).max()).mean() <= share
    assert off.max() <= 0.1 * np.abs(wanted).max()
    assert (found.detach().numpy().argmax(1) == wanted.argmax(1)).mean() > 0.9
    (slope,) = torch.autograd.grad(found.square().sum(), point)
    assert slope.isfinite().all()
    assert (slope.flatten(1).abs().sum(1) > 0).all()
    return model


def operators(model: ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


FUSED = {
    "residual": {"QLinearConv", "QLinearAdd", "QLinearMul", "QLinearLeakyRelu", "QLinearSigmoid"},
    "tokens": {"QLinearMatMul", "QLinearAdd", "QLinearSoftmax"},
}


@pytest.mark.parametrize("name", ["residual", "tokens"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"per_channel": True, "activation_type": QuantType.QUInt8},
        {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QUInt8, "reduce_range": True},
    ],
)
def test_whole_number_operators(name: str, options: dict[str, Any], quantise: Callable[..., Path]) -> None:
    path = quantise(name, quant_format=QuantFormat.QOperator, **options)
    assert operators(require_agreement(path)) >= FUSED[name]


@pytest.mark.parametrize("name", ["residual", "tokens"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"per_channel": True, "activation_type": QuantType.QUInt8},
        {"extra_options": {"ActivationSymmetric": True}, "calibrate_method": CalibrationMethod.Percentile},
        {"activation_type": QuantType.QUInt16, "weight_type": QuantType.QInt8},
        {"activation_type": QuantType.QInt16, "weight_type": QuantType.QInt4},
    ],
)
def test_pairs(name: str, options: dict[str, Any], quantise: Callable[..., Path]) -> None:
    """onnxruntime runs these in whole numbers where it can, so halves may fall to the other side."""
    path = quantise(name, quant_format=QuantFormat.QDQ, **options)
    assert "DequantizeLinear" in operators(require_agreement(path, share=1.0))


@pytest.mark.parametrize("name", ["residual", "tokens"])
def test_pairs_that_the_optimiser_has_fused(name: str, quantise: Callable[..., Path]) -> None:
    path = optimised(quantise(name, quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8))
    model = require_agreement(path, share=0.1)
    assert operators(model) & {"QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat"}


@pytest.mark.parametrize("name", ["residual", "tokens"])
@pytest.mark.parametrize("options", [{}, {"per_channel": True, "weight_type": QuantType.QUInt8}])
def test_ranges_at_run_time(name: str, options: dict[str, Any], quantise: Callable[..., Path]) -> None:
    path = quantise(name, dynamic=True, **options)
    kinds = operators(require_agreement(path, share=0.1))
    assert "DynamicQuantizeLinear" in kinds
    assert kinds & {"MatMulInteger", "ConvInteger"}


@pytest.mark.parametrize("name", ["residual", "tokens"])
@pytest.mark.parametrize(
    "options",
    [
        {"quant_format": QuantFormat.QOperator},
        {"quant_format": QuantFormat.QOperator, "per_channel": True, "activation_type": QuantType.QUInt8},
        {"quant_format": QuantFormat.QDQ, "per_channel": True},
        {"dynamic": True},
        {"dynamic": True, "per_channel": True, "weight_type": QuantType.QUInt8},
    ],
)
def test_in_floats_they_say_much_the_same(
    name: str, options: dict[str, Any], quantise: Callable[..., Path]
) -> None:
    model = onnx.load(quantise(name, **options))
    input, output = read_signature(model)
    body = prepare(model, input, output).body
    floats = without_rounding(body)
    assert floats is not None
    assert not [
        kind for kind in operators(floats) if "Integer" in kind or "uantize" in kind or kind[0] == "Q"
    ]
    x = np.random.default_rng(2).standard_normal((32, *input.shape)).astype(np.float32)
    before, after = (open_session(each.SerializeToString()) for each in (body, floats))
    wanted = np.concatenate([before.run(None, {"x": row[None]})[0] for row in x])
    found = np.concatenate([after.run(None, {"x": row[None]})[0] for row in x])
    assert 0 < np.abs(found - wanted).max() <= 0.1 * np.abs(wanted).max()
    assert (found.argmax(1) == wanted.argmax(1)).mean() > 0.8


def test_one_with_ranges_at_run_time_is_grown_down(quantise: Callable[..., Path]) -> None:
    """Such a file is tied to one sample at a time; its student is not."""
    teacher = load_teacher(quantise("residual", dynamic=True))
    assert teacher.prepared.fixed_batch == 1
    student = grow_down(teacher.prepared, teacher.input, teacher.parameters // 3)
    x = torch.randn(16, *teacher.input.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        off = (student(x) - teacher.module(x)).abs().max() / teacher.module(x).abs().max()
    assert off < 0.1
    student.shrink(teacher.parameters // 3, 1.0, student.weigh(x, torch.Generator().manual_seed(1)))
    assert student.size <= teacher.parameters // 3
    assert student(x).shape == (16, 4)


def test_four_bit_weights(float_files: dict[str, Path], tmp_path: Path) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    for level in (None, 4):
        logging.disable(logging.WARNING)
        quantiser = MatMulNBitsQuantizer(
            onnx.load(float_files["tokens"]), block_size=16, accuracy_level=level
        )
        quantiser.process()
        logging.disable(logging.NOTSET)
        path = tmp_path / "narrow.onnx"
        quantiser.model.save_model_to_file(str(path))
        assert "MatMulNBits" in operators(require_agreement(path, share=0.0 if level is None else 0.2))


def test_a_binarised_net_has_a_gradient(parse: Callable[..., ModelProto]) -> None:
    """Signs of features and weights, and a softmax that saturates: only its logits lead anywhere."""
    rng = np.random.default_rng(0)
    model = parse(
        """net (float[B, 12] x) => (float[B, 3] p) {
             h = MatMul(x, a)
             s = Sign(h)
             g = MatMul(s, b)
             z = Sign(g)
             y = MatMul(z, c)
             p = Softmax(y)
        }""",
        a=(rng.standard_normal((12, 15)) / 6).astype(np.float32),
        b=(np.sign(rng.standard_normal((15, 15))) / 8).astype(np.float32),
        c=(4 * np.sign(rng.standard_normal((15, 3)))).astype(np.float32),
    )
    input, output = read_signature(model)
    prepared = prepare(model, input, output)
    x = rng.standard_normal((8, 12)).astype(np.float32)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    point = torch.from_numpy(x).requires_grad_()
    logits = convert(prepared, input)(point)
    np.testing.assert_allclose(logits.detach().softmax(1).numpy(), wanted, atol=1e-6)
    assert wanted.max(axis=1).min() > 0.99
    (slope,) = torch.autograd.grad(logits.square().sum(), point)
    assert slope.isfinite().all()
    assert (slope.abs().sum(1) > 0).float().mean() > 0.8


@pytest.mark.parametrize("options", [{"quant_format": QuantFormat.QOperator}, {"dynamic": True}])
def test_the_whole_way(options: dict[str, Any], quantise: Callable[..., Path]) -> None:
    teacher = load_teacher(quantise("residual", **options))
    assert teacher.quantised
    assert teacher.parity.gradient_norm > 0
