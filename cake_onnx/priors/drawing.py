"""Grey pictures drawn by procedure, `(n, channels, height, width)` in [0, 1], the same in every channel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cake_onnx.priors.fields import about, grid, octaves, turned, uniform


def draw_texture(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Smooth random fields: noise of several octaves through a sigmoid of random gain and offset."""
    field = octaves(n, size, generator)
    gain = torch.exp(uniform(n, 0.0, 2.0, generator))
    offset = uniform(n, -1.5, 1.5, generator)
    return _in_all(torch.sigmoid(gain * (field + offset)), channels)


def draw_leaves(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Dead leaves: eight shapes over one another on plain ground."""
    picture = uniform(n, 0.0, 1.0, generator).expand(n, *size)
    for _ in range(8):
        mask = _superellipse(n, size, generator, largest=0.9)
        picture = picture + mask * (uniform(n, 0.0, 1.0, generator) - picture)
    return _in_all(picture, channels)


def draw_object(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """One thing on plain ground: a union of soft shapes, often mirrored, textured."""
    union = torch.zeros(n, *size)
    for index in range(4):
        present = 1.0 if index == 0 else (uniform(n, 0.0, 1.0, generator) < 0.6).float()
        union = torch.maximum(union, present * _superellipse(n, size, generator, largest=0.8))
    mirrored = uniform(n, 0.0, 1.0, generator) < 0.6
    union = torch.where(mirrored, torch.maximum(union, union.flip(-1)), union)
    texture = torch.sigmoid(uniform(n, 0.0, 3.0, generator) * octaves(n, size, generator))
    strength = uniform(n, 0.0, 1.0, generator)
    inside = uniform(n, 0.3, 1.0, generator) * (1 - strength + strength * texture)
    return _in_all(_on_ground(union, inside, generator), channels)


def draw_strokes(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Line drawings: one to four strokes of one pen on plain ground, bent lines and arcs, some closed."""
    rows, columns = grid(size)
    pen = uniform(n, 0.04, 0.2, generator)
    ink = torch.zeros(n, *size)
    for index in range(4):
        present = 1.0 if index == 0 else (uniform(n, 0.0, 1.0, generator) < 0.5).float()
        nearest = torch.full((n, *size), math.inf)
        for point in _stroke(n, 4 * max(size) // 3 + 2, generator)[..., None, None]:
            square = (rows - point[:, 0]).square() + (columns - point[:, 1]).square()
            nearest = torch.minimum(nearest, square)
        edge = 2.0 / max(size)
        ink = torch.maximum(ink, present * torch.sigmoid((pen - nearest.sqrt()) / (0.5 * edge)))
    return _in_all(_on_ground(ink, uniform(n, 0.5, 1.0, generator), generator), channels)


def _stroke(n: int, points: int, generator: torch.Generator) -> Tensor:
    """Points along n strokes, `(points, n, 2)`: half are lines bent once, half arcs of ellipses.

    Arcs take a quarter to five quarters of a turn. No other kind of picture has rings, and bent lines shut in
    few; with those alone the student of a vision transformer of digits lost half of the nines (docs/tried.md,
    One class that is lost).
    """
    t = torch.linspace(0, 1, points)[:, None, None]
    first, bend, last = torch.rand(3, n, 2, generator=generator) * 1.6 - 0.8
    bent = (1 - t).square() * first + 2 * t * (1 - t) * bend + t.square() * last
    centre = torch.rand(n, 2, generator=generator) * 1.2 - 0.6
    radius = 0.1 + 0.45 * torch.rand(n, 2, generator=generator)
    start, turned, extent, kind = torch.rand(4, n, 1, generator=generator)
    angle = 2 * math.pi * (start + (0.25 + extent) * t)
    along, across = radius[:, :1] * torch.cos(angle), radius[:, 1:] * torch.sin(angle)
    cosine, sine = torch.cos(2 * math.pi * turned), torch.sin(2 * math.pi * turned)
    arc = centre + torch.cat([along * cosine - across * sine, along * sine + across * cosine], -1)
    return torch.where(kind < 0.5, arc, bent)


def _on_ground(mask: Tensor, inside: Tensor, generator: torch.Generator) -> Tensor:
    """Lay `inside` over a ground that is black, white or grey, black the likeliest; invert for white."""
    n = mask.shape[0]
    ground = (uniform(n, 0.0, 1.0, generator) < 0.25).float() * uniform(n, 0.0, 1.0, generator)
    picture = ground + mask * (inside - ground)
    return torch.where(uniform(n, 0.0, 1.0, generator) < 0.25, 1 - picture, picture)


def _in_all(grey: Tensor, channels: int) -> Tensor:
    """`(n, H, W)` as `(n, channels, H, W)`."""
    return grey[:, None].expand(-1, channels, -1, -1).contiguous()


def _superellipse(n: int, size: tuple[int, int], generator: torch.Generator, largest: float) -> Tensor:
    """Soft masks `(n, H, W)`: |x'/a|^p + |y'/b|^p < 1, turned and moved; p from diamond to box."""
    angle = uniform(n, 0.0, math.pi, generator)
    along, across = turned(size, about(0.7, n, generator), angle)
    along = along / uniform(n, 0.1, largest, generator)
    across = across / uniform(n, 0.1, largest, generator)
    power = uniform(n, 1.0, 6.0, generator)
    radius = (along.abs().clamp_min(1e-3) ** power + across.abs().clamp_min(1e-3) ** power) ** (1 / power)
    return torch.sigmoid((1 - radius) * 0.25 * max(size))
