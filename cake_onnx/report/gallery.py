"""Which samples the page shows, and what both models call them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cake_onnx.graph.runtime import bound_arrays
from cake_onnx.graph.specs import InputSpec
from cake_onnx.judge import Side, compare, decision_grid
from cake_onnx.judge.comparison import asker
from cake_onnx.judge.suites import FloatArray, Suite
from cake_onnx.priors import ImagePrior, Prior, SeriesPrior
from cake_onnx.report.pictures import PictureLayout, Pictures, Regions

_SHOWN = 400


def draw_pictures(teacher: Side, student: Side, samples: FloatArray, prior: Prior) -> Pictures:
    """Ask both models about some samples and, for two features, about the plane around all of them.

    Args:
        teacher: One model.
        student: The other.
        samples: `(N, *shape)`.
        prior: What inputs look like: one of images or of series tells how flat samples are laid out.
    """
    shown = compare(Suite("shown", "other", samples[:_SHOWN]), asker(teacher), asker(student))
    spec = teacher.input
    sides = [np.broadcast_to(side, (1, *spec.shape)) for side in bound_arrays(spec)]
    layout, (x, low, high) = _laid_out(prior, spec, (shown.suite.x, *sides))
    return Pictures(
        samples=x, teacher=shown.teacher.argmax(1), student=shown.student.argmax(1),
        layout=layout, low=low[0], high=high[0],
        regions=_regions(teacher, student, samples),
    )  # fmt: skip


def _laid_out(
    prior: Prior, spec: InputSpec, arrays: Sequence[FloatArray]
) -> tuple[PictureLayout, list[FloatArray]]:
    """Arrays `(N, *shape)` as images or series, where the prior sees such in a flat input."""
    if spec.layout == "flat" and isinstance(prior, ImagePrior):
        return "NCHW", [prior.to_images(torch.tensor(x)).numpy() for x in arrays]
    if isinstance(prior, SeriesPrior):
        return "series", [prior.to_signals(torch.tensor(x)).numpy() for x in arrays]
    return spec.layout, list(arrays)


def _regions(teacher: Side, student: Side, samples: FloatArray) -> Regions | None:
    grid = decision_grid(teacher.input, samples)
    if grid is None:
        return None
    x, y, points = grid
    decided = compare(Suite("plane", "other", points), asker(teacher), asker(student), batch=4096)
    shape = (len(y), len(x))
    classes = [np.asarray(p.argmax(1).reshape(shape)) for p in (decided.teacher, decided.student)]
    return Regions(x, y, classes[0], classes[1])
