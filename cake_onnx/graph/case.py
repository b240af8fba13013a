"""One conversion under comparison: what was found, what onnxruntime says, and how far apart they may be."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cake_onnx.graph.closeness import Closeness
from cake_onnx.graph.oracle import Oracle
from cake_onnx.graph.probes import Probes
from cake_onnx.graph.runtime import Array, open_session

_ROUNDINGS = 8
"""Differences that rounding may make, over the one measured between single and double precision."""
_MOST_LOST = 0.05
_MOST_OWN = 0.1
_UNSTABLE = 0.5
"""Share of the samples that may need such an excuse."""


def own_differences(truth: Oracle, probes: Probes, wanted: Array) -> Array:
    """`(B, K)`, how far onnxruntime is from itself where its kernels are fused, by group of like samples.

    Many roundings in a row fall otherwise with every order of summation; what onnxruntime itself does not
    agree on, up to a tenth of the spread, cannot be asked of a conversion.
    """
    fused = open_session(truth.prepared.body.SerializeToString(), threads=1)
    again = truth.comparable(Oracle(fused, truth.input, truth.prepared).logits(probes.x))
    result = np.abs(again - wanted)
    for rows in probes.alike():
        result[rows] = result[rows].max(axis=0)
    own: Array = np.minimum(result, _MOST_OWN * np.ptp(wanted, axis=0).max())
    return own


@dataclass(frozen=True)
class Case:
    """All that is compared: probes, the logits `(B, K)` wanted and those found in one batch.

    Attributes:
        own: `(B, K)`, how far onnxruntime is from itself.
    """

    module: nn.Module
    truth: Oracle
    probes: Probes
    wanted: Array
    found: Array
    closeness: Closeness
    own: Array

    def allowed(self, values: Array) -> Array:
        """Allowed differences from values `(B, K)` of all probes, each group measured by its own scale."""
        result = np.empty_like(values)
        for rows in self.probes.alike():
            result[rows] = self.closeness.allowed(values[rows])
        return result + self.own

    def widened(self, difference: Array, allowed: Array, rows: list[int]) -> Array:
        """`allowed`, more where a difference `(n, K)` exceeds it and rounding alone can explain it.

        Some networks make much of little for some inputs. How much shows in the module itself, computed with
        double precision; a wrong conversion stays the same. At most 5 % of the logits come off so.
        """
        missing = np.flatnonzero((difference > allowed).any(axis=1))
        if len(missing) == 0 or len(missing) > _UNSTABLE * len(self.probes):
            return allowed
        places = [rows[i] for i in missing]
        lost = _ROUNDINGS * np.abs(self._exactly(places) - self.found[places]).max(axis=1, keepdims=True)
        limit = _MOST_LOST * np.abs(self.wanted[places]).max(axis=1, keepdims=True)
        result = allowed.copy()
        result[missing] += np.minimum(lost, limit)
        return result

    def _exactly(self, places: list[int]) -> Array:
        x = torch.from_numpy(self.probes.x[places]).double()
        try:
            with torch.no_grad():
                logits: Tensor = copy.deepcopy(self.module).double()(x)
        except (RuntimeError, TypeError):
            # Constants of some operators stay float32 and meet no doubles.
            return self.found[places]
        return self.truth.comparable(logits.float().numpy())
