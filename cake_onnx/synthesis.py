"""Only the samples: for calibration, recovery after pruning, or fine-tuning elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from cake_onnx import progress as tell
from cake_onnx.bank import Samples
from cake_onnx.config import Config
from cake_onnx.devices import choose_precision, find_device, generator
from cake_onnx.diffuse import Diffusion, diffuse, draw_wanted
from cake_onnx.losses import logit_spread
from cake_onnx.methods.lesson import fitting_part
from cake_onnx.priors import ValueRange, build_prior
from cake_onnx.teacher import load_teacher

_GROUPS = 25


def synthesize(path: Path, count: int, config: Config, report: tell.Report = tell.silent) -> Samples:
    """Push `count` samples from the prior to the decision boundary of a teacher; no student is involved.

    Half are taken from the middle of their way, where the teacher is surer, and half from its end.

    Args:
        path: An ONNX classifier.
        count: How many.
        config: Input range, prior, device and seed are read.
        report: Called after each batch.

    Raises:
        UsageError: The path or an option cannot be used as given.
        UnsupportedTeacherError: The file is not a classifier that can be distilled.
        RunFailedError: Numbers overflowed.
    """
    teacher = load_teacher(path, config.input_range, config.mean, config.std)
    place = find_device(config.device)
    prior, _ = build_prior(config.prior, teacher.input, teacher.module)
    trial = prior.draw(256, generator(config.seed, "precision"))
    part = fitting_part(place, trial, teacher.module)
    module, trial = teacher.module.to(place), trial.to(place)
    exact = teacher.quantised or (place.type == "cpu" and teacher.light)
    run = choose_precision(place, module, trial, exact=exact, part=part).wrap(module)
    with torch.no_grad():
        logits = run(trial)
    spread = logit_spread(logits).clamp_min(1e-6)
    bounds, group = ValueRange.of(teacher.input, place), min(10, teacher.output.classes)
    parts: list[Samples] = []
    done = 0
    while done < count:
        report(tell.Progress("diffuse", done, count))
        draw = generator(config.seed, "synthesize", len(parts))
        wanted = draw_wanted(_GROUPS, group, teacher.output.classes, draw).to(place)
        start = prior.draw(_GROUPS * group, draw).to(place)
        both = diffuse(
            run, None, prior, bounds, start, wanted, spread, Diffusion(w_student=0.0), draw, len(parts) // 2
        )
        parts.extend(both)
        done += 2 * _GROUPS * group
    report(tell.Progress("diffuse", count, count))
    samples = _first(parts, count)
    # Samples travel in the device's precision; at the boundary only float32 says what the file itself says.
    with torch.no_grad():
        exact = [module(x.to(place)).float().cpu() for x in samples.x.split(_GROUPS * group)]
    return replace(samples, logits=torch.cat(exact))


def _first(parts: list[Samples], count: int) -> Samples:
    """The first `count` of all samples, alternating between the parts."""
    order = torch.stack([torch.arange(len(p)) for p in parts], 1)
    pick = (order + torch.arange(len(parts)) * len(parts[0])).flatten()[:count]
    joined = {
        name: torch.cat([getattr(p, name) for p in parts]).cpu()[pick]
        for name in ("x", "logits", "wanted", "travelled")
    }
    return Samples(**joined, round=parts[-1].round)
