"""Published architectures through both exporters of torch: is the conversion right, and what does it cost?

Each network of `networks/` is exported with TorchScript (opset 17, batch declared dynamic) and with the
default exporter (batch as it traces it). The teacher made of the file is compared with onnxruntime (forward,
four together against one by one) and with the network itself (gradient, time). All must agree to be right.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from networks import NETWORKS, build
from torch import Tensor, nn

from cake_onnx.errors import CakeError
from cake_onnx.graph.convert import convert
from cake_onnx.graph.runtime import scores
from cake_onnx.teacher import Teacher, load_teacher

EXPORTERS = ("torchscript", "dynamo")
_BATCH = 4
_TIMED_BATCH = 8
_FORWARD = 1e-3
_GRADIENT = 0.1
"""Exporters fold batch normalisation: a ReLU next to its kink can then fall on the other side."""


@dataclass(frozen=True)
class Row:
    """What became of one network through one exporter.

    Attributes:
        network: Key of `NETWORKS`.
        exporter: `torchscript` or `dynamo`.
        opset: Of the file.
        nodes: Operators in the file.
        parameters: Weights of the network.
        right: Everything below is as it should be.
        forward: Largest difference from onnxruntime over the largest logit, four samples together.
        batch: The same, each sample alone against the four together.
        gradient: Relative difference from the gradient of the network itself, median of four samples.
        load_s: Seconds from the file to a teacher that passed all checks.
        convert_ms: Milliseconds of the conversion alone.
        forward_ratio: Time of the converted module over that of the network, a batch of eight, one thread.
        gradient_ratio: The same, forward and backward to the input.
        refusal: Why there is no teacher.
    """

    network: str
    exporter: str
    opset: int
    nodes: int
    parameters: int
    right: bool
    forward: float
    batch: float
    gradient: float
    load_s: float
    convert_ms: float
    forward_ratio: float
    gradient_ratio: float
    refusal: str


def export(network: nn.Module, size: int, exporter: str, path: Path) -> None:
    """Write the network as an ONNX file, as a user of that exporter would."""
    x = torch.randn(1, 3, size, size)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            torch.onnx.export(network, (x,), path, external_data=False)
        else:
            axes = {"x": {0: "batch"}, "y": {0: "batch"}}
            torch.onnx.export(
                network, (x,), path, dynamo=False, opset_version=17, input_names=["x"], output_names=["y"],
                dynamic_axes=axes,
            )  # fmt: skip


def measure(repeats: int = 7, only: frozenset[str] = frozenset()) -> Iterator[Row]:
    """All networks through all exporters.

    Args:
        repeats: Timed runs of each module; the median counts.
        only: Networks to measure, all of them where it is empty.
    """
    torch.set_num_threads(1)
    for name in NETWORKS:
        if only and name not in only:
            continue
        for exporter in EXPORTERS:
            yield _measure_one(name, exporter, repeats)


def _measure_one(name: str, exporter: str, repeats: int) -> Row:
    network, size = build(name)
    network.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        export(network, size, exporter, path)
        model = onnx.load(path)
        opset = next(entry.version for entry in model.opset_import if not entry.domain)
        facts = (name, exporter, opset, len(model.graph.node), sum(p.numel() for p in network.parameters()))
        start = time.perf_counter()
        try:
            teacher = load_teacher(path, input_range=(-3.0, 3.0))
        except CakeError as error:
            return Row(*facts, False, *(float("nan"),) * 7, refusal=str(error))
        loaded = time.perf_counter() - start
    return _judged(facts, teacher, network, loaded, repeats)


def _judged(
    facts: tuple[str, str, int, int, int], teacher: Teacher, network: nn.Module, loaded: float, repeats: int
) -> Row:
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((_BATCH, *teacher.input.shape), np.float32))
    alone = [scores(teacher.session, teacher.input, teacher.output, one[None].numpy()) for one in x]
    wanted = torch.from_numpy(np.concatenate(alone))
    found = teacher.module(x)
    singles = torch.cat([teacher.module(one[None]) for one in x])
    forward = float((found - wanted).abs().max() / wanted.abs().max())
    batch = float((found - singles).abs().max() / wanted.abs().max())
    gradient = _gradient_difference(teacher.module, network, x)
    converting = median_ms(lambda: convert(teacher.prepared, teacher.input), 3)
    ratios = _time_ratios(teacher.module, network, x.repeat(_TIMED_BATCH // _BATCH, 1, 1, 1), repeats)
    return Row(
        *facts, forward <= _FORWARD and batch <= _FORWARD and gradient <= _GRADIENT, forward, batch, gradient,
        loaded, converting, *ratios, refusal="",
    )  # fmt: skip


def _gradient(module: nn.Module, x: Tensor) -> Tensor:
    point = x.clone().requires_grad_()
    weights = torch.linspace(-1.0, 1.0, 10)
    (gradient,) = torch.autograd.grad((module(point) @ weights).sum(), point)
    return gradient


def _gradient_difference(converted: nn.Module, network: nn.Module, x: Tensor) -> float:
    found, wanted = (_gradient(module, x).flatten(1) for module in (converted, network))
    return float(((found - wanted).norm(dim=1) / wanted.norm(dim=1)).median())


def _time_ratios(converted: nn.Module, network: nn.Module, x: Tensor, repeats: int) -> tuple[float, float]:
    """Converted over native, alternating so that other work on the machine meets both."""

    def forward(module: nn.Module) -> None:
        with torch.no_grad():
            module(x)

    ratios = []
    for run in (forward, lambda module: _gradient(module, x)):
        ours, native = partial(run, converted), partial(run, network)
        ours()
        native()
        pairs = [(once_ms(ours), once_ms(native)) for _ in range(repeats)]
        ratios.append(statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs))
    return ratios[0], ratios[1]


def once_ms(run: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def median_ms(run: Callable[[], object], repeats: int) -> float:
    """Median milliseconds of a call."""
    return statistics.median(once_ms(run) for _ in range(repeats))
