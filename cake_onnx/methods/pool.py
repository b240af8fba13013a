"""Which samples of a prior a student is taught on, when its teacher can tell."""

from __future__ import annotations

import torch
from torch import Tensor

from cake_onnx.devices import in_parts
from cake_onnx.diffuse import Logits
from cake_onnx.priors import Prior

_AT_ONCE = 250
"""Samples the teacher sees at a time."""


def draw_chosen(
    prior: Prior, teacher: Logits, n: int, candidates: int, place: torch.device, generator: torch.Generator
) -> Tensor:
    """Draw `(n, *shape)` samples of the prior: of all the teacher's classes alike, those it is surest of.

    A prior is drawn without any teacher in mind. Of pictures drawn by procedure a digit classifier took 82%
    for an eight and none for a three, and its logits were a third of what they are on digits. How sure a
    classifier is tells what it was trained on from the rest (Hendrycks and Gimpel, ICLR 2017), if not well:
    the surest of all would be of one class, the surest of very many all alike.

    Args:
        prior: What is drawn from.
        teacher: `(B, *shape)` to logits `(B, K)`.
        n: Samples wanted.
        candidates: Samples drawn for each that is kept; 1 keeps what comes, and the teacher is not asked.
        place: Where the teacher is.
        generator: Of everything.
    """
    x = prior.draw(n * candidates, generator)
    if candidates == 1:
        return x
    return x[surest_of_each_class(label(teacher, x.to(place)).cpu())[:n]]


def label(teacher: Logits, x: Tensor) -> Tensor:
    """The teacher's logits `(B, K)` of many samples `(B, *shape)`, a few at a time and without a gradient."""
    with torch.no_grad():
        return in_parts(teacher, _AT_ONCE)(x)


def surest_of_each_class(logits: Tensor) -> Tensor:
    """Order `(B, K)` logits: first the surest of every class, then the second of every class, and so on.

    Returns:
        `(B,)` indices. Sure is who gives its class a logit far above the mean of all.
    """
    height, seen = (logits - logits.mean(1, keepdim=True)).max(1)
    by_height = height.argsort(descending=True)
    by_class = by_height[seen[by_height].argsort(stable=True)]
    counts = torch.bincount(seen, minlength=logits.shape[1])
    before = counts.cumsum(0) - counts
    rank = torch.empty_like(by_class)
    rank[by_class] = torch.arange(len(by_class)) - before[seen[by_class]]
    return by_height[rank[by_height].argsort(stable=True)]
