"""Hold what the layers of a student read against what they read in its teacher.

Where the student is the teacher with fewer channels, each channel left has a counterpart, and matching them
tells far more of a sample than its logits do (FitNets, Romero et al. 2015; for pruned networks and few
samples, "MiR", Wang et al. 2022, of which this is the version with every layer and no real sample).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from cake_onnx.graph.taps import Taps


@runtime_checkable
class Comparable(Protocol):
    """A student whose channels are channels of its teacher.

    Attributes:
        taps: On the student's graph as it is now.
        kept: Axis of the channels, and which of the teacher's are left, by name of the tensor.
        teacher_places: Places of these tensors in the teacher's graph.
    """

    taps: Taps
    kept: dict[str, tuple[int, Tensor]]
    teacher_places: dict[str, int]


class Features:
    """Compares a student with its teacher, layer by layer.

    Args:
        teacher: Taps on the teacher's graph, at the student's `teacher_places`.
        student: May lose channels at any time.
    """

    def __init__(self, teacher: Taps, student: Comparable) -> None:
        self.teacher, self.student = teacher, student

    @contextmanager
    def watched(self) -> Iterator[Callable[[], Tensor]]:
        """Gives the mismatch of the last run of either network within the block."""
        with self.teacher.reading() as wanted, self.student.taps.reading() as given:
            yield lambda: mismatch(wanted, given, self.student.kept)


def mismatch(
    wanted: dict[str, Tensor], given: dict[str, Tensor], kept: dict[str, tuple[int, Tensor]]
) -> Tensor:
    """Mean over tensors of the squared difference in units of the teacher's variance, a scalar, at least 0.

    Args:
        wanted: The teacher's tensors, by name.
        given: The student's, with the channels that are left.
        kept: Axis, and the channels of the teacher that are left `(C,)`, of every tensor to compare.
    """
    parts = []
    for name, (axis, channels) in kept.items():
        target = _only(wanted[name], axis, channels)
        # An eighth of the samples tell the scale of all of them.
        variance = target[::8].float().var(correction=0).clamp_min(1e-12)
        parts.append(_mean_square(given[name], target, variance))
    return torch.stack(parts).mean()


def _only(wanted: Tensor, axis: int, channels: Tensor) -> Tensor:
    """Channels `(C,)` of `wanted`, in the memory layout that it has.

    A product with ones and zeros copies exactly. It runs at the speed of memory, where `index_select` takes
    ten times as long in channels-last, or leaves it, and everything after that would mix two layouts.
    """
    last = wanted.movedim(axis, -1)
    place = torch.arange(len(channels), device=last.device)
    chosen = last.new_zeros(last.shape[-1], len(channels))
    chosen[channels.to(last.device), place] = 1
    return (last @ chosen).movedim(-1, axis)


class _MeanSquare(torch.autograd.Function):
    """Mean of `(given - target)^2 / variance`, a scalar, in three passes over memory instead of ten.

    Maps of features are far larger than the caches, so what the difference costs is the times it is read. It
    is kept in the type of its operands; the loss alone, not the gradient, then has the rounding of that type.
    """

    @staticmethod
    def forward(ctx: Any, given: Tensor, target: Tensor, variance: Tensor) -> Tensor:
        difference = given - target
        ctx.scale = 1 / (variance * difference.numel())
        ctx.save_for_backward(difference)
        of_each = torch.linalg.vector_norm(difference, dim=tuple(range(1, difference.dim())))
        loss: Tensor = of_each.float().square().sum() * ctx.scale
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (difference,) = ctx.saved_tensors
        slope: Tensor = difference * (2 * grad * ctx.scale).to(difference.dtype)
        return slope, None, None


_mean_square: Callable[[Tensor, Tensor, Tensor], Tensor] = _MeanSquare.apply
