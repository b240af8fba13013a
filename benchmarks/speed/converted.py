"""Converted: the module made of an ONNX file against the network it was exported from.

The published architectures of benchmarks/conversion, float32, batches of eight: forward, and forward with the
gradient of the input.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from architectures import export
from networks import NETWORKS, build
from speed.clock import Run, Spread, in_turns, ratios
from speed.lines import Line, Results
from speed.subjects import Logits, bare_step
from torch import Tensor

from cake_onnx.teacher import load_teacher

_BATCH = 8
_FORWARD, _GRADIENT = "forward", "forward and input gradient"
_NATIVE = "written in torch"


def measure(options: argparse.Namespace, results: Results) -> None:
    """All architectures, exported by TorchScript."""
    for name in NETWORKS:
        if not results.has("converted", name, _GRADIENT, _NATIVE, _BATCH):
            _measure_one(name, options.turns, results)


def _measure_one(name: str, turns: int, results: Results) -> None:
    network, size = build(name)
    network.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        export(network, size, "torchscript", path)
        converted = load_teacher(path, input_range=(-3.0, 3.0)).module.to(results.device)
    native = network.to(results.device)
    x = torch.randn(_BATCH, 3, size, size, generator=torch.Generator().manual_seed(0)).to(results.device)
    for way, step in ((_FORWARD, _forward), (_GRADIENT, bare_step)):
        runs: dict[str, Run] = {"ours": _bound(step, converted, x), _NATIVE: _bound(step, native, x)}
        seconds = in_turns(runs, turns, results.device)
        line = Line(
            "converted", name, way, _NATIVE, _BATCH, turns,
            Spread.of([1e3 * value for value in seconds["ours"]]), "ms",
            ratios(seconds["ours"], seconds[_NATIVE]), precision="float32",
        )  # fmt: skip
        results.add(line)


def _forward(run: Logits, x: Tensor) -> Tensor:
    with torch.no_grad():
        return run(x)


def _bound(step: Callable[[Logits, Tensor], Tensor], run: Logits, x: Tensor) -> Run:
    return lambda: step(run, x)
