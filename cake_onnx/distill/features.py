"""Hold what the layers of a student read against what they read in its teacher.

Where the student is the teacher with fewer channels, each channel left has a counterpart, and matching them
tells far more of a sample than its logits do (FitNets, Romero et al. 2015; for pruned networks and few
samples, "MiR", Wang et al. 2022, of which this is the version with every layer and no real sample).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

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
        target = wanted[name].index_select(axis, channels.to(wanted[name].device)).float()
        parts.append((given[name].float() - target).square().mean() / target.var().clamp_min(1e-12))
    return torch.stack(parts).mean()
