"""Pictures drawn by procedure, all `(n, channels, height, width)` in [0, 1], all from one generator."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def draw_texture(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Smooth random fields: noise of several octaves through a sigmoid of random gain and offset."""
    field = _octaves(n, size, generator)
    gain = torch.exp(_uniform(n, 0.0, 2.0, generator))
    offset = _uniform(n, -1.5, 1.5, generator)
    return _paint(torch.sigmoid(gain * (field + offset)), channels, generator)


def draw_leaves(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Dead leaves: eight shapes over one another on plain ground, in colour each of its own."""
    picture = _surface(n, channels, size, generator, strength=0.0)
    for _ in range(8):
        mask = _superellipse(n, size, generator, largest=0.9)[:, None]
        picture = picture + mask * (_surface(n, channels, size, generator, strength=0.3) - picture)
    return picture


def draw_object(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """One thing on a ground: a union of soft shapes, often mirrored, textured; grey ones on plain ground."""
    union = torch.zeros(n, *size)
    for index in range(4):
        present = 1.0 if index == 0 else (_uniform(n, 0.0, 1.0, generator) < 0.6).float()
        union = torch.maximum(union, present * _superellipse(n, size, generator, largest=0.8))
    mirrored = _uniform(n, 0.0, 1.0, generator) < 0.6
    union = torch.where(mirrored, torch.maximum(union, union.flip(-1)), union)
    if channels > 1:
        ground = _surface(n, channels, size, generator, strength=0.5)
        return ground + union[:, None] * (_surface(n, channels, size, generator, strength=1.0) - ground)
    texture = torch.sigmoid(_uniform(n, 0.0, 3.0, generator) * _octaves(n, size, generator))
    strength = _uniform(n, 0.0, 1.0, generator)
    inside = _uniform(n, 0.3, 1.0, generator) * (1 - strength + strength * texture)
    return _on_ground(union, inside, generator)[:, None].contiguous()


def draw_strokes(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Line drawings: one to four strokes of one pen on plain ground, bent lines and arcs, some closed."""
    rows, columns = _grid(size)
    pen = _uniform(n, 0.04, 0.2, generator)
    ink = torch.zeros(n, *size)
    for index in range(4):
        present = 1.0 if index == 0 else (_uniform(n, 0.0, 1.0, generator) < 0.5).float()
        nearest = torch.full((n, *size), math.inf)
        for point in _stroke(n, 4 * max(size) // 3 + 2, generator)[..., None, None]:
            square = (rows - point[:, 0]).square() + (columns - point[:, 1]).square()
            nearest = torch.minimum(nearest, square)
        edge = 2.0 / max(size)
        ink = torch.maximum(ink, present * torch.sigmoid((pen - nearest.sqrt()) / (0.5 * edge)))
    return _paint(_on_ground(ink, _uniform(n, 0.5, 1.0, generator), generator), channels, generator)


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
    ground = (_uniform(n, 0.0, 1.0, generator) < 0.25).float() * _uniform(n, 0.0, 1.0, generator)
    picture = ground + mask * (inside - ground)
    return torch.where(_uniform(n, 0.0, 1.0, generator) < 0.25, 1 - picture, picture)


def _surface(
    n: int, channels: int, size: tuple[int, int], generator: torch.Generator, strength: float
) -> Tensor:
    """What a thing is made of, `(n, channels, H, W)`: one grey, or colours that a texture mixes.

    Args:
        n: Surfaces.
        channels: 1 for grey, which has no texture.
        size: Height and width.
        generator: Of everything.
        strength: Share of the surfaces that are textured, in colour.
    """
    if channels == 1:
        return _uniform(n, 0.0, 1.0, generator)[:, None].expand(n, 1, *size)
    first, second = _tones(n, channels, generator), _tones(n, channels, generator)
    plain = (_uniform(n, 0.0, 1.0, generator) >= strength).float()[:, None]
    gain = _uniform(n, 0.5, 4.0, generator)
    texture = torch.sigmoid(gain * _octaves(n, size, generator))[:, None]
    return first + (1 - plain) * texture * (second - first)


def _tones(n: int, channels: int, generator: torch.Generator) -> Tensor:
    """Random colours `(n, channels, 1, 1)`, most of them dull, as most things are."""
    lightness = _uniform(n, 0.0, 1.0, generator)[:, None]
    saturation = 0.4 * _uniform(n, 0.0, 1.0, generator)[:, None].square()
    return (lightness + saturation * torch.randn(n, channels, 1, 1, generator=generator)).clamp(0, 1)


def _paint(grey: Tensor, channels: int, generator: torch.Generator) -> Tensor:
    """Give `(n, H, W)` its channels; three images of four ramp between two random tones in each."""
    n = grey.shape[0]
    images = grey[:, None].expand(n, channels, *grey.shape[1:])
    if channels == 1:
        return images.contiguous()
    first, second = _tones(n, channels, generator), _tones(n, channels, generator)
    keep = torch.rand(n, 1, 1, 1, generator=generator) < 0.1
    return torch.where(keep, images, first + images * (second - first))


def _octaves(n: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Sum of upsampled noise at sides 2, 4, 8, … with random falloff, `(n, H, W)`, mean 0 and spread 1."""
    falloff = _uniform(n, 0.3, 1.0, generator)[:, None]
    field = torch.zeros(n, 1, *size)
    side, weight = 2, torch.ones(n, 1, 1, 1)
    while side <= max(size):
        noise = torch.randn(n, 1, side, side, generator=generator)
        field = field + weight * F.interpolate(noise, size=size, mode="bilinear", align_corners=False)
        side, weight = side * 2, weight * falloff
    field = field[:, 0]
    centred = field - field.mean((1, 2), keepdim=True)
    return centred / centred.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-6)


def _superellipse(n: int, size: tuple[int, int], generator: torch.Generator, largest: float) -> Tensor:
    """Soft masks `(n, H, W)`: |x'/a|^p + |y'/b|^p < 1, turned and moved; p from diamond to box."""
    rows, columns = _grid(size)
    angle = _uniform(n, 0.0, math.pi, generator)
    y = rows - _uniform(n, -0.7, 0.7, generator)
    x = columns - _uniform(n, -0.7, 0.7, generator)
    along = (x * torch.cos(angle) + y * torch.sin(angle)) / _uniform(n, 0.1, largest, generator)
    across = (y * torch.cos(angle) - x * torch.sin(angle)) / _uniform(n, 0.1, largest, generator)
    power = _uniform(n, 1.0, 6.0, generator)
    radius = (along.abs().clamp_min(1e-3) ** power + across.abs().clamp_min(1e-3) ** power) ** (1 / power)
    return torch.sigmoid((1 - radius) * 0.25 * max(size))


def _grid(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row and column coordinates in [-1, 1], `(1, H, 1)` and `(1, 1, W)`."""
    return torch.linspace(-1, 1, size[0])[None, :, None], torch.linspace(-1, 1, size[1])[None, None, :]


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """`(n, 1, 1)` uniform numbers."""
    return low + (high - low) * torch.rand(n, 1, 1, generator=generator)
