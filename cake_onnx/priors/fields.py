"""What drawn pictures and series are made of: shares, uniform numbers, places, coordinates, smooth noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """`(n, 1, 1)` uniform numbers."""
    return low + (high - low) * torch.rand(n, 1, 1, generator=generator)


def in_equal_parts(n: int, parts: int) -> list[int]:
    """How many of `n` each of `parts` kinds has: as many as the others, the first ones one more."""
    share, more = divmod(n, parts)
    return [share + (index < more) for index in range(parts)]


def grid(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row and column coordinates in [-1, 1], `(1, H, 1)` and `(1, 1, W)`."""
    return torch.linspace(-1, 1, size[0])[None, :, None], torch.linspace(-1, 1, size[1])[None, None, :]


def about(reach: float, n: int, generator: torch.Generator) -> Tensor:
    """Rows and columns `(2, n, 1, 1)` at most `reach` from the middle."""
    return torch.stack([uniform(n, -reach, reach, generator) for _ in range(2)])


def turned(size: tuple[int, int], centre: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates along and across axes through `centre` `(2, n, 1, 1)`, turned by `angle` `(n, 1, 1)`.

    Returns:
        Two `(n, H, W)`.
    """
    rows, columns = (at - middle for at, middle in zip(grid(size), centre, strict=True))
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return columns * cosine + rows * sine, rows * cosine - columns * sine


def octaves(
    n: int,
    size: tuple[int, ...],
    generator: torch.Generator,
    coarsest: int = 2,
    falloff: tuple[float, float] = (0.3, 1.0),
) -> Tensor:
    """Sum of upsampled noise at sides doubling up to the field's, `(n, *size)`, mean 0 and spread 1.

    Args:
        n: Fields.
        size: Height and width of a picture, or the length of a series alone.
        generator: Of everything.
        coarsest: Side of the first noise.
        falloff: Least and most of what each octave has of the strength of the one before.
    """
    alone, mode = [1] * len(size), "bilinear" if len(size) == 2 else "linear"
    each = uniform(n, *falloff, generator).view(n, 1, *alone)
    field = torch.zeros(n, 1, *size)
    side, weight = coarsest, torch.ones(n, 1, *alone)
    while side <= max(size):
        noise = torch.randn(n, 1, *[side] * len(size), generator=generator)
        field = field + weight * F.interpolate(noise, size=size, mode=mode, align_corners=False)
        side, weight = side * 2, weight * each
    return standardised(field[:, 0], len(size))


def standardised(field: Tensor, axes: int) -> Tensor:
    """`field` with mean 0 and spread 1 over its last `axes`; what is the same everywhere becomes 0."""
    over = tuple(range(-axes, 0))
    centred = field - field.mean(over, keepdim=True)
    return centred / centred.square().mean(over, keepdim=True).sqrt().clamp_min(1e-6)
