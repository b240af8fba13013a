"""Classes: what the terms of the objective cost, by the number of classes, and beside a pass of a network.

The derivatives of class and contrast term for 1,024 samples in groups of 16, as a diffusion step computes
them; then those of 1,000 classes against one bare pass of a ResNet-18 of half the width, as many samples.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from speed.clock import Run, Spread, in_turns, ratios
from speed.lines import Line, Results
from speed.subjects import bare_step
from speed.ways import subjects
from torch import Tensor

from cake_onnx.losses import class_slope, contrast_slope

CLASSES = (10, 100, 1_000, 10_000)
_BATCH, _GROUP = 1024, 16
_FEWEST = f"{CLASSES[0]} classes"
_TEACHER = "fmnist_resnet18w32"
_BESIDE = f"bare pass of {_TEACHER}"
TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "class": class_slope,
    "contrast": lambda logits, wanted: contrast_slope(
        logits.view(-1, _GROUP, logits.shape[1]), logits.new_ones(())
    ),
}


def measure(options: argparse.Namespace, results: Results) -> None:
    """Both terms for all numbers of classes, and beside the network."""
    for name in TERMS:
        if not results.has("classes", name, f"{CLASSES[-1]} classes", _FEWEST, CLASSES[-1]):
            _by_classes(name, options.turns, results)
    if not results.has("classes", "contrast", "1000 classes", _BESIDE, _BATCH):
        _beside_a_network(options, results)


def _by_classes(name: str, turns: int, results: Results) -> None:
    runs = {classes: _run(name, classes, results.device) for classes in CLASSES}
    seconds = in_turns({str(classes): run for classes, run in runs.items()}, turns, results.device)
    for classes in CLASSES:
        spent = seconds[str(classes)]
        line = Line(
            "classes", name, f"{classes} classes", _FEWEST, classes, turns,
            Spread.of([1e3 * value for value in spent]), "ms", ratios(spent, seconds[str(CLASSES[0])]),
            precision="float32", note=f"{_BATCH} samples",
        )  # fmt: skip
        results.add(line)


def _beside_a_network(options: argparse.Namespace, results: Results) -> None:
    (subject,) = subjects(options, _TEACHER)
    run = subject.chosen.wrap(subject.module)
    runs: dict[str, Run] = {name: _run(name, 1_000, results.device) for name in TERMS}
    seconds = in_turns(runs | {_BESIDE: lambda: bare_step(run, subject.x)}, options.turns, results.device)
    for name in TERMS:
        line = Line(
            "classes", name, "1000 classes", _BESIDE, _BATCH, options.turns,
            Spread.of([1e3 * value for value in seconds[name]]), "ms",
            ratios(seconds[name], seconds[_BESIDE]),
            precision=f"float32; network {repr(subject.chosen).partition(', ')[2]}",
        )  # fmt: skip
        results.add(line)


def _run(name: str, classes: int, device: torch.device) -> Run:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(_BATCH, classes, generator=draw).to(device)
    wanted = torch.randint(classes, (_BATCH,), generator=draw).to(device)
    return lambda: TERMS[name](logits, wanted)
