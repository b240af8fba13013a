"""Move the student: towards the teacher's soft labels, on samples that diffusion and the prior supply."""

from __future__ import annotations

from cake_onnx.distill.apprentice import (
    Apprentice,
    Shrinking,
    apprentice_as_published,
    apprentice_for_rounds,
)
from cake_onnx.distill.features import Comparable, Features
from cake_onnx.distill.learn import compose_batch, learn_epoch, learn_round
from cake_onnx.distill.settings import Distillation, PublishedDistillation

__all__ = [
    "Apprentice",
    "Comparable",
    "Distillation",
    "Features",
    "PublishedDistillation",
    "Shrinking",
    "apprentice_as_published",
    "apprentice_for_rounds",
    "compose_batch",
    "learn_epoch",
    "learn_round",
]
