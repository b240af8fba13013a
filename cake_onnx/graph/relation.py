"""Between logits and the tensor where a classifier is cut, in both directions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.cut import Relation

_SMALLEST_PROBABILITY = 1e-30


def to_logits(raw: Tensor, relation: Relation) -> Tensor:
    """Logits `(B, K)` from the raw score tensor `(B, C)`; see `Cut` for the relations."""
    if relation == "one_score":
        return torch.cat([-raw / 2, raw / 2], dim=1)
    if relation == "one_vs_rest":
        return _centred(functional.logsigmoid(raw))
    if relation == "log":
        return _centred(raw.clamp_min(_SMALLEST_PROBABILITY).log())
    return raw


def from_logits(logits: Tensor, relation: Relation) -> Tensor:
    """The raw score tensor `(B, C)` that makes a tail say what logits `(B, K)` mean.

    `to_logits(from_logits(z))` equals z up to a constant per sample, for every relation.
    """
    if relation == "one_score":
        return logits[:, 1:2] - logits[:, 0:1]
    if relation == "one_vs_rest":
        # The normaliser divides by the sum, so sigmoids that are the probabilities stay as they are.
        # log(1 - p) is a logsumexp over the other classes: exact where p is close to 1.
        classes = logits.shape[1]
        others = logits.unsqueeze(1).expand(-1, classes, classes)
        mask = torch.eye(classes, dtype=torch.bool, device=logits.device)
        return logits - torch.logsumexp(others.masked_fill(mask, -torch.inf), dim=2)
    return logits.softmax(dim=1) if relation == "log" else logits


def _centred(logs: Tensor) -> Tensor:
    return logs - logs.mean(dim=1, keepdim=True)
