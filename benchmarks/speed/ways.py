"""Ways: precision, layout, batch and CUDA graphs for the bare step of a teacher.

Samples a second of a forward pass and the gradient of the input; the difference of the logits from those of
plain float32, and the share of decisions that change, on samples of the prior. `default` in the note marks
what `cake_onnx.devices` chooses. On a GPU the step is also captured once and replayed: a bound on what can be
had by launching less.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from speed.clock import Spread, in_turns, ratios
from speed.lines import Line, Results
from speed.subjects import Logits, bare_step, configured, entries, load
from torch import Tensor, nn

from cake_onnx.devices import Device, choose_precision, find_device, generator
from cake_onnx.losses import logit_spread
from cake_onnx.priors import build_prior

NETWORKS = "mnist_lenet5,mnist_resnet8,mnist_vit,mnist_mlp,digits_skl_mlp"
BATCHES = (64, 128, 256, 512, 1024)
PLAIN, LAST = "float32", "float32, channels-last"
HALF, HALF_LAST = "bfloat16", "bfloat16, channels-last"
CAST = "bfloat16, channels-last, weights cast once"
GRAPH = "bfloat16, channels-last, CUDA graph"
_COMPARED = 1024


@dataclass(frozen=True)
class Subject:
    """A teacher on its device.

    Attributes:
        name: Of its file.
        module: `(B, *shape)` to `(B, K)`.
        x: Samples of the prior `(1024, *shape)`.
        chosen: What the product takes.
    """

    name: str
    module: nn.Module
    x: Tensor
    chosen: Device


def measure(options: argparse.Namespace, results: Results) -> None:
    """All networks and batches, one thread."""
    for subject in subjects(options, options.teacher or NETWORKS):
        runs = eager(subject.module, subject.chosen.torch_device)
        effects = {way: effect(run, runs[PLAIN], subject.x) for way, run in runs.items()}
        for batch in BATCHES:
            if not results.has("ways", subject.name, PLAIN, PLAIN, batch):
                _measure_one(subject, runs, effects, batch, options.turns, results)


def subjects(options: argparse.Namespace, only: str) -> list[Subject]:
    """Teachers of the folder by name."""
    found = []
    for entry in entries(options.teachers, only):
        config = configured(entry, options.device)
        teacher = load(options.teachers, entry, config)
        prior, _ = build_prior(config.prior, teacher.input, teacher.module)
        place = find_device(options.device)
        x = prior.draw(_COMPARED, generator(0, "speed")).to(place)
        module = teacher.module.to(place)
        exact = teacher.exact_on(place)
        chosen = choose_precision(place, copy.deepcopy(module), x[:256], exact=exact)
        found.append(Subject(Path(entry["file"]).stem, module, x, chosen))
    return found


def eager(module: nn.Module, device: torch.device) -> dict[str, Logits]:
    """Every way without compiling; each has a copy of the network, since its layout is part of the way."""
    half = torch.bfloat16
    return {
        PLAIN: _as_it_lies(copy.deepcopy(module), device, None),
        LAST: Device(device, None).wrap(copy.deepcopy(module)),
        HALF: _as_it_lies(copy.deepcopy(module), device, half),
        HALF_LAST: Device(device, half).wrap(copy.deepcopy(module)),
        CAST: Device(device, half).wrap(_weights_cast(copy.deepcopy(module))),
    }


def effect(run: Logits, plain: Logits, x: Tensor) -> tuple[float, float]:
    """Largest difference of logits in units of their spread, and the share of decisions that change."""
    with torch.no_grad():
        wanted, given = plain(x), run(x)
    difference = float((given - wanted).abs().max() / logit_spread(wanted))
    return difference, float((given.argmax(1) != wanted.argmax(1)).float().mean())


def _measure_one(
    subject: Subject,
    runs: Mapping[str, Logits],
    effects: Mapping[str, tuple[float, float]],
    batch: int,
    turns: int,
    results: Results,
) -> None:
    x = subject.x[:batch]
    timed: dict[str, Callable[[], object]] = {way: _step(run, x) for way, run in runs.items()}
    why_not = ""
    if x.device.type == "cuda":
        try:
            timed[GRAPH] = captured(runs[CAST], x)
        except RuntimeError as error:  # what cannot be captured is a result too
            why_not = str(error).splitlines()[0]
    seconds = in_turns(timed, turns, x.device)
    for way, each in seconds.items():
        difference, changed = effects.get(way, effects[CAST])
        line = Line(
            "ways", subject.name, way, PLAIN, batch, turns,
            Spread.of([batch / value for value in each]), "samples/s", ratios(each, seconds[PLAIN]),
            difference, changed, note=_note(way, subject.chosen),
        )  # fmt: skip
        results.add(line)
    if why_not:
        results.add(Line("ways", subject.name, GRAPH, PLAIN, batch, note=why_not))


def _step(run: Logits, x: Tensor) -> Callable[[], object]:
    return lambda: bare_step(run, x)


def _note(way: str, chosen: Device) -> str:
    return "default" if way == (LAST if chosen.autocast is None else HALF_LAST) else ""


def _as_it_lies(module: nn.Module, device: torch.device, half: torch.dtype | None) -> Logits:
    def run(x: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=half or torch.bfloat16, enabled=half is not None):
            logits: Tensor = module(x)
        return logits.float()

    return run


def _weights_cast(module: nn.Module) -> nn.Module:
    """Autocast casts the weights of convolutions and matrices at every pass; these need it no more."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.to(torch.bfloat16)
    return module


def captured(run: Logits, x: Tensor) -> Callable[[], None]:
    """The bare step as one CUDA graph; replaying it launches everything at once."""
    point = x.clone().requires_grad_()

    def once() -> None:
        torch.autograd.grad(run(point).sum(), point)

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # libraries set themselves up before anything is recorded
        for _ in range(3):
            once()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        once()
    return graph.replay
