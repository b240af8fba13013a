"""Signals drawn by procedure, `(n, channels, length)`, each of mean 0 and spread 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cake_onnx.priors.fields import octaves, standardised, uniform

_HARMONICS = 4
_EVENTS = 4


def draw_drift(n: int, channels: int, length: int, generator: torch.Generator) -> Tensor:
    """Smooth signals: noise of several octaves, from one slow bend to fine grain."""
    return octaves(n * channels, (length,), generator).view(n, channels, length)


def draw_walk(n: int, channels: int, length: int, generator: torch.Generator) -> Tensor:
    """Random walks, whose grain is finest and whose way is longest."""
    return standardised(torch.randn(n, channels, length, generator=generator).cumsum(-1), 1)


def draw_waves(n: int, channels: int, length: int, generator: torch.Generator) -> Tensor:
    """Periodic signals: some harmonics of a period that all channels share and that slowly changes."""
    time = torch.linspace(0, 1, length)
    most = max(2.0, length / 6)
    cycles = torch.exp(uniform(n, math.log(0.5), math.log(most), generator))
    phase = 2 * math.pi * cycles * time * (1 + 0.3 * uniform(n, -1.0, 1.0, generator) * time)
    falloff = 2 * uniform(n, 0.0, 1.0, generator)
    signal = torch.zeros(n, channels, length)
    for harmonic in range(1, _HARMONICS + 1):
        strength = torch.randn(n, channels, 1, generator=generator) / harmonic**falloff
        start = 2 * math.pi * torch.rand(n, channels, 1, generator=generator)
        signal = signal + strength * torch.sin(harmonic * phase + start)
    return standardised(signal, 1)


def draw_events(n: int, channels: int, length: int, generator: torch.Generator) -> Tensor:
    """Some bells, steps and plateaus of any width on plain ground, at the same time in all channels."""
    time = torch.linspace(0, 1, length)
    signal = torch.zeros(n, channels, length)
    for _ in range(_EVENTS):
        width = torch.exp(uniform(n, math.log(1.5 / length), math.log(0.25), generator))
        away = (time - uniform(n, 0.0, 1.0, generator)) / width
        bell = torch.exp(-0.5 * away.square())
        step = torch.sigmoid(3 * away)
        plateau = torch.sigmoid(8 * (away + 1)) * torch.sigmoid(8 * (1 - away))
        kind = uniform(n, 0.0, 1.0, generator)
        shape = torch.where(kind < 0.5, bell, torch.where(kind < 0.75, step, plateau))
        present = (uniform(n, 0.0, 1.0, generator) < 0.7).float()
        signal = signal + present * torch.randn(n, channels, 1, generator=generator) * shape
    return standardised(signal, 1)
