"""Only the samples: for calibration, recovery after pruning, or fine-tuning elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
_TENSORS = ("x", "logits", "wanted", "travelled")


def synthesize(path: Path, count: int, config: Config, report: tell.Report = tell.silent) -> Samples:
    """All samples of `synthesize_batches` together.

    Raises:
        UsageError: The path or an option cannot be used as given.
        UnsupportedTeacherError: The file is not a classifier that can be distilled.
        RunFailedError: Numbers overflowed.
    """
    return _joined(list(synthesize_batches(path, count, config, report)))


def synthesize_batches(
    path: Path, count: int, config: Config, report: tell.Report = tell.silent
) -> Iterator[Samples]:
    """Push `count` samples from the prior to the decision boundary of a teacher; no student is involved.

    Half are taken from the middle of their way, where the teacher is surer, and half from its end, in turns.
    The first of many samples are those that were asked for alone.

    Args:
        path: An ONNX classifier.
        count: How many.
        config: Input range, prior, device and seed are read.
        report: Called before each batch and at the end.

    Yields:
        Batches of samples on the CPU, so that any number of them takes the memory of one batch.

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
    run = choose_precision(place, module, trial, exact=teacher.exact_on(place), part=part).wrap(module)
    with torch.no_grad():
        spread = logit_spread(run(trial)).clamp_min(1e-6)
    bounds, group = ValueRange.of(teacher.input, place), min(10, teacher.output.classes)
    size = 2 * _GROUPS * group
    for index, done in enumerate(range(0, count, size)):
        report(tell.Progress("diffuse", done, count))
        draw = generator(config.seed, "synthesize", 2 * index)
        wanted = draw_wanted(_GROUPS, group, teacher.output.classes, draw).to(place)
        start = prior.draw(_GROUPS * group, draw).to(place)
        settings = Diffusion(w_student=0.0)
        both = diffuse(run, None, prior, bounds, start, wanted, spread, settings, draw, index)
        samples = _in_turns(both, min(size, count - done))
        # They travel in the device's precision; at the boundary only float32 says what the file itself says.
        with torch.no_grad():
            logits = torch.cat([module(x.to(place)).float().cpu() for x in samples.x.split(_GROUPS * group)])
        yield replace(samples, logits=logits)
    report(tell.Progress("diffuse", count, count))


def _in_turns(both: tuple[Samples, Samples], count: int) -> Samples:
    """The first `count` samples, one of each in turns."""
    pick = torch.arange(2 * len(both[0])).view(2, -1).T.flatten()[:count]
    whole = _joined(both)
    return replace(whole, **{name: getattr(whole, name)[pick] for name in _TENSORS})


def _joined(parts: Sequence[Samples]) -> Samples:
    tensors = {name: torch.cat([getattr(part, name) for part in parts]).cpu() for name in _TENSORS}
    return Samples(**tensors, round=parts[-1].round)
