"""Compile: torch.compile against the same step without it, and what compiling costs."""

from __future__ import annotations

import argparse
import copy
import time

import torch
from speed.clock import Spread, in_turns, ratios
from speed.lines import Line, Results
from speed.subjects import Logits, bare_step
from speed.ways import HALF_LAST, LAST, NETWORKS, Subject, effect, subjects

from cake_onnx.devices import Device

BATCH = 256


def measure(options: argparse.Namespace, results: Results) -> None:
    """All networks at one size of batch, one thread."""
    torch.set_num_threads(1)
    for subject in subjects(options, options.teacher or NETWORKS):
        modes = ["default"] if results.device.type == "cpu" else ["default", "reduce-overhead"]
        for precision in (LAST, HALF_LAST):
            for mode in modes:
                way = f"{precision}, compiled" + ("" if mode == "default" else f", {mode}")
                if not results.has("compile", subject.name, way, precision, BATCH):
                    _measure_one(subject, precision, way, mode, options.turns, results)


def _measure_one(subject: Subject, precision: str, way: str, mode: str, turns: int, results: Results) -> None:
    x = subject.x[:BATCH]
    eager = _wrapped(subject, precision)
    torch.compiler.reset()
    run = torch.compile(_wrapped(subject, precision), dynamic=False, mode=mode)
    start = time.perf_counter()
    try:
        bare_step(run, x).sum().item()
    except Exception as error:  # whatever a compiler raises, the table shall say it
        note = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
        results.add(Line("compile", subject.name, way, precision, BATCH, note=note))
        return
    compiling = time.perf_counter() - start
    seconds = in_turns(
        {precision: lambda: bare_step(eager, x), way: lambda: bare_step(run, x)}, turns, x.device
    )
    difference, changed = effect(run, eager, x)
    line = Line(
        "compile", subject.name, way, precision, BATCH, turns,
        Spread.of([BATCH / value for value in seconds[way]]), "samples/s",
        ratios(seconds[way], seconds[precision]), difference, changed,
        note=f"first step {compiling:.0f} s",
    )  # fmt: skip
    results.add(line)


def _wrapped(subject: Subject, precision: str) -> Logits:
    half = torch.bfloat16 if precision == HALF_LAST else None
    return Device(subject.chosen.torch_device, half).wrap(copy.deepcopy(subject.module))
