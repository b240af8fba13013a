"""Which samples the page shows, and what both models call them."""

from __future__ import annotations

import numpy as np

from cake_onnx.graph.runtime import bound_arrays
from cake_onnx.judge import Side, compare, decision_grid
from cake_onnx.judge.comparison import asker
from cake_onnx.judge.suites import FloatArray, Suite
from cake_onnx.report.pictures import Pictures, Regions

_SHOWN = 400


def draw_pictures(teacher: Side, student: Side, samples: FloatArray) -> Pictures:
    """Ask both models about some samples and, for two features, about the plane around all of them.

    Args:
        teacher: One model.
        student: The other.
        samples: `(N, *shape)`.
    """
    shown = compare(Suite("shown", "other", samples[:_SHOWN]), asker(teacher), asker(student))
    spec = teacher.input
    low, high = bound_arrays(spec)
    return Pictures(
        samples=shown.suite.x, teacher=shown.teacher.argmax(1), student=shown.student.argmax(1),
        layout=spec.layout, low=low, high=high,
        regions=_regions(teacher, student, samples),
    )  # fmt: skip


def _regions(teacher: Side, student: Side, samples: FloatArray) -> Regions | None:
    grid = decision_grid(teacher.input, samples)
    if grid is None:
        return None
    x, y, points = grid
    decided = compare(Suite("plane", "other", points), asker(teacher), asker(student), batch=4096)
    shape = (len(y), len(x))
    classes = [np.asarray(p.argmax(1).reshape(shape)) for p in (decided.teacher, decided.student)]
    return Regions(x, y, classes[0], classes[1])
