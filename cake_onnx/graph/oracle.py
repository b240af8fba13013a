"""What onnxruntime says of a prepared body: the truth for its conversion, in logits that can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cake_onnx.errors import RunFailedError, UnsupportedTeacherError
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.probes import Probes
from cake_onnx.graph.relation import to_logits
from cake_onnx.graph.runtime import Array, scores
from cake_onnx.graph.specs import InputSpec, OutputSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_SMALLEST_COMPARED = -13.8
"""Logarithm of a probability of one in a million."""
RANGE_REMEDY = "check the file, and state the range of its input with `--input-range LOW,HIGH`"


@dataclass(frozen=True)
class Oracle:
    """The prepared body in onnxruntime."""

    body: InferenceSession
    input: InputSpec
    prepared: Prepared

    def logits(self, x: Array) -> Array:
        """Logits `(B, K)`, one sample at a time, so that no sample can know of another."""
        described = OutputSpec(self.prepared.cut.tensor, None, "logits", 1, None)
        raw = [scores(self.body, self.input, described, x[i : i + 1]) for i in range(len(x))]
        return to_logits(torch.from_numpy(np.concatenate(raw)), self.prepared.cut.relation).numpy()

    def comparable(self, logits: Array) -> Array:
        """`comparable_logits` of an array."""
        result: Array = comparable_logits(torch.from_numpy(logits), self.prepared).numpy()
        return result


def comparable_logits(logits: Tensor, prepared: Prepared) -> Tensor:
    """Logits, or log-probabilities with a floor where logits are computed from probabilities.

    The far tail of a probability is rounding: onnxruntime and torch differ there by orders of magnitude.
    """
    if prepared.cut.relation != "log":
        return logits
    return logits.log_softmax(dim=1).clamp_min(_SMALLEST_COMPARED)


def computable(truth: Oracle, probes: Probes) -> tuple[Probes, Array]:
    """The probes with onnxruntime's logits, without odd ones that it cannot compute.

    A flat sample has no variance to divide by, and values beyond the bounds may overflow; typical samples
    must have finite scores.
    """
    typical = set(probes.typical(len(probes)))
    kept, rows = [], []
    for i in range(len(probes)):
        try:
            row = truth.logits(probes.x[i : i + 1])
        except RunFailedError:
            if not probes.beyond[i]:
                raise
            continue
        if np.isfinite(row).all():
            kept.append(i)
            rows.append(row)
        elif i in typical:
            raise UnsupportedTeacherError(
                "finite scores for values within the range assumed",
                f"NaN or infinity by onnxruntime for {probes.kinds[i]}",
                RANGE_REMEDY,
            )
    return probes.take(np.array(kept)), np.concatenate(rows)
