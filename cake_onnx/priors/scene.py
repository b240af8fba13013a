"""Colour pictures with what photographs have most of: many parts, sharp edges and fine grain."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cake_onnx.priors.fields import about, grid, octaves, turned, uniform

_SURFACES = 6
"""Surfaces of a picture; its ground, the thing and all parts are of some of them."""
_PATCHES, _PARTS = 3, 14
"""Shapes of the ground, and of the thing."""
_ELEMENTS = 2_000_000
"""Numbers of pictures drawn at once, which takes some fifteen times the memory."""


def draw_scene(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A body with smaller parts about it, two in three of the things mirrored, before a ground of patches.

    Photographs have fine texture, sharp edges and many small parts, most of them dull in colour; soft single
    shapes have none of these. As the layers of a ResNet-8 of CIFAR-10 see it, scenes are a third to a
    fifteenth as far from photographs (Fréchet distance) as such shapes were in colour (docs/tried.md, Colour
    pictures).
    """
    at_once = max(1, _ELEMENTS // (channels * size[0] * size[1]))
    counts = [min(at_once, n - done) for done in range(0, n, at_once)]
    return torch.cat([_draw(count, channels, size, generator) for count in counts])


def _draw(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    surfaces = torch.stack([_surface(n, channels, size, generator) for _ in range(_SURFACES)])
    picture, each = surfaces[0], torch.arange(n)
    body = about(0.3, n, generator)
    mirrored = uniform(n, 0.0, 1.0, generator) < 0.7
    for index in range(-_PATCHES, _PARTS):
        there = (uniform(n, 0.0, 1.0, generator) < 0.7).float()
        if index < 0:
            mask = there * _shape(about(1.0, n, generator), (0.2, 1.5), size, generator)
        elif index == 0:
            mask = _shape(body, (0.3, 0.9), size, generator)
        else:
            mask = there * _shape(body + about(0.6, n, generator), (0.05, 0.4), size, generator)
            mask = torch.where(mirrored, torch.maximum(mask, mask.flip(-1)), mask)
        surface = surfaces[torch.randint(_SURFACES, (n,), generator=generator), each]
        picture = picture + mask[:, None] * (surface - picture)
    return picture


def _shape(
    centre: Tensor, radii: tuple[float, float], size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Masks `(n, H, W)` of ellipses and boxes, turned a little, their edges two pixels wide."""
    n = centre.shape[1]
    along, across = turned(size, centre, uniform(n, -0.3, 0.3, generator))
    along, across = along / uniform(n, *radii, generator), across / uniform(n, *radii, generator)
    box = uniform(n, 0.0, 1.0, generator) < 0.5
    radius = torch.where(
        box, torch.maximum(along.abs(), across.abs()), (along.square() + across.square()).sqrt()
    )
    return torch.sigmoid((1 - radius) * 0.5 * max(size))


def _surface(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """`(n, channels, H, W)`: a dull tone in slanting light, and on six of ten a grain."""
    rows, columns = grid(size)
    lightness = uniform(n, 0.0, 1.0, generator)[:, None]
    saturation = 0.2 * uniform(n, 0.0, 1.0, generator)[:, None].square()
    tone = (lightness + saturation * torch.randn(n, channels, 1, 1, generator=generator)).clamp(0, 1)
    angle = uniform(n, 0.0, 2 * math.pi, generator)
    slant = rows * torch.sin(angle) + columns * torch.cos(angle)
    light = 1 + uniform(n, 0.0, 0.5, generator) * slant
    strength = (0.3 * uniform(n, -0.4, 0.6, generator).clamp_min(0))[:, None]
    tint = 0.5 + 0.5 * torch.rand(n, channels, 1, 1, generator=generator)
    grain = octaves(n, size, generator, coarsest=4, falloff=(0.4, 0.9))[:, None]
    return (tone * light[:, None] + strength * tint * grain).clamp(0, 1)
