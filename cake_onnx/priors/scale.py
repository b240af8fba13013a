"""A guess at the scale of an input that nobody stated, from what the teacher says along it.

Far below the scale it was trained on a classifier hardly sees its input and gives every sample one class; far
above, its answers no longer change. The guess is where they have become half as diverse and sure as they get.
It is a guess: nothing that is trained or judged goes by it (`benchmarks/scale` tells how often it is right).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.priors.base import Prior
from cake_onnx.priors.image import ImagePrior
from cake_onnx.priors.vector import TabularPrior

_SAMPLES = 128
_OCTAVES = range(-8, 13)
_LARGEST = 3 * 128 * 128
"""Most numbers of an input that is probed: beyond, a few thousand passes are no quick look."""
_LEAST_DIVERSITY = 0.05
"""Share of log K below which the answers never differ enough to say anything."""
_CONVENTIONS: Sequence[tuple[float, tuple[float, float]]] = (
    # Where a picture is half as telling as it gets, at most, and the usual range that this suggests.
    (2.0**0.25, (0.0, 1.0)), (2.0**3, (-2.0, 2.6)), (math.inf, (0.0, 255.0)),
)  # fmt: skip


@dataclass(frozen=True)
class ScaleProbe:
    """What a teacher shows along the scale of its input; samples lie between minus and plus a scale.

    Attributes:
        quarter: Scale at which its answers are a quarter as diverse and sure as they get.
        half: At which they are half so.
        most: At which they are three quarters so.
        low: Lowest value of the range that this suggests.
        high: Highest value.
    """

    quarter: float
    half: float
    most: float
    low: float
    high: float

    def __str__(self) -> str:
        octaves = math.log2(self.most / self.quarter)
        return (
            f"a guess from its answers, not used: {self.low:g} to {self.high:g}; they become diverse and "
            f"sure between ±{self.quarter:.2g} and ±{self.most:.2g} ({octaves:.1f} octaves), "
            f"half so at ±{self.half:.2g}"
        )


def probe_scale(teacher: Callable[[Tensor], Tensor], spec: InputSpec) -> ScaleProbe | None:
    """Look where along the scale of the input the teacher's answers become diverse and sure.

    The measure is the mutual information of sample and class, `H(mean p) - mean H(p)`: 0 where all samples
    get one class, or all classes alike, and log K where every class is given, surely.

    Args:
        teacher: `(B, *shape)` to logits `(B, K)`.
        spec: Its input; the bounds do not matter.

    Returns:
        The guess; None for inputs too large to be looked at quickly, of whole numbers, or where the answers
        never differ.
    """
    if math.prod(spec.shape) > _LARGEST or spec.dtype.startswith(("int", "uint")):
        return None
    pattern = _prior(spec).draw(_SAMPLES, torch.Generator().manual_seed(0))
    scales = [2.0**octave for octave in _OCTAVES]
    told = [_information(teacher(scale * pattern)) for scale in scales]
    if max(told) < _LEAST_DIVERSITY:
        return None
    quarter, half, most = (_reached(scales, told, share * max(told)) for share in (0.25, 0.5, 0.75))
    if spec.image_shape is None:
        # Columns of a table know no convention; the next power of two above leaves room for what is rare.
        reach = 2.0 ** math.ceil(math.log2(half) + 0.5)
        return ScaleProbe(quarter, half, most, -reach, reach)
    low, high = next(usual for limit, usual in _CONVENTIONS if half <= limit)
    return ScaleProbe(quarter, half, most, low, high)


def _prior(spec: InputSpec) -> Prior:
    unit = replace(spec, bounds=Bounds((-1.0,), (1.0,), "probe", assumed=True))
    return TabularPrior(unit) if spec.image_shape is None else ImagePrior(unit, spec.image_shape)


@torch.no_grad()
def _information(logits: Tensor) -> float:
    """Mutual information of sample and class, share of log K."""
    p = logits.float().softmax(1)
    return float(_entropy(p.mean(0)) - _entropy(p).mean()) / math.log(p.shape[1])


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-30).log()).sum(-1)


def _reached(scales: Sequence[float], told: Sequence[float], level: float) -> float:
    """Smallest scale at which `told` reaches `level`, between two grid points by their logarithms."""
    index = next(i for i, value in enumerate(told) if value >= level)
    if index == 0:
        return scales[0]
    before, after = told[index - 1], told[index]
    share = (level - before) / (after - before)
    return float(scales[index - 1] * (scales[index] / scales[index - 1]) ** share)
