"""Which samples of a prior a student is taught on, when its teacher can tell."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from cake_onnx.bank import in_turn
from cake_onnx.devices import in_parts
from cake_onnx.diffuse import Logits
from cake_onnx.priors import GROUNDS, ImagePrior, Prior

_log = logging.getLogger(__name__)
_BEYOND_EVEN = 0.4
"""Share of the answers that one class may have beyond an even one; with more it has too many pictures."""
_FEW = 10
"""Fewer pictures of a kind on a ground say nothing of it; it is worth as much as its kind then."""
_NOTHING = 1e-6
"""Nats that are rounding alone."""
_AT_ONCE = 250
"""Samples the teacher sees at a time."""


def suited(
    prior: ImagePrior, teacher: Logits, n: int, place: torch.device, generator: torch.Generator
) -> ImagePrior:
    """The same prior, drawing the more of what the teacher tells apart, if it calls too many one class.

    What is drawn by procedure is drawn for all teachers. One of digits, white on black, called nearly all
    leaves, and whatever lay on light ground, the same digit, so more than half of the pictures taught its
    student next to nothing. What pictures are worth is what the teacher's answers tell, see `information`.
    Single pictures are chosen beside, see `draw_chosen` and `draw_labelled`.

    Args:
        prior: Drawing all its kinds alike.
        teacher: `(B, *shape)` to logits `(B, K)`.
        n: Pictures that the teacher is asked about.
        place: Where the teacher is.
        generator: Of the pictures.
    """
    answers, grounds = [], []
    for kind in prior.kinds:
        x = prior.of(kind).draw(n // len(prior.kinds), generator)
        answers.append(label(teacher, x.to(place)).cpu())
        grounds.append(prior.grounds(x))
    # Asked like this since logits that are no numbers are told of where their spread is taken.
    shares = torch.cat(answers).softmax(1).mean(0)
    if not shares.max() > _BEYOND_EVEN + 1 / len(shares):
        return prior
    worth = torch.stack([_worth(*told) for told in zip(answers, grounds, strict=True)])
    if worth.max() < _NOTHING:
        return prior
    worth /= worth.max()
    for kind, row in zip(prior.kinds, worth.tolist(), strict=True):
        told = ", ".join(f"{value:.2f} {ground}" for ground, value in zip(GROUNDS, row, strict=True))
        _log.info("worth of %s, by their ground: %s", kind.__name__.removeprefix("draw_"), told)
    return prior.valued(worth)


def _worth(logits: Tensor, grounds: Tensor) -> Tensor:
    """Information of the answers `(B, K)` on each of `GROUNDS`, `(3,)`."""
    there = [grounds == index for index in range(len(GROUNDS))]
    return torch.tensor([information(logits[which] if which.sum() >= _FEW else logits) for which in there])


def information(logits: Tensor) -> float:
    """What a sample tells of the class that a classifier gives it, in nats: H(mean p) - mean H(p).

    The mutual information of sample and class, at least 0 and at most ln K: high where each answer is sure
    and all together are of many classes. Its exponential is the Inception Score (Salimans et al., NeurIPS
    2016).

    Args:
        logits: `(B, K)`.
    """
    p = logits.double().softmax(1)
    together = p.mean(0)
    told = torch.special.entr(together).sum() - torch.special.entr(p).sum(1).mean()
    return max(0.0, float(told))


def draw_chosen(
    prior: Prior, teacher: Logits, n: int, candidates: int, place: torch.device, generator: torch.Generator
) -> Tensor:
    """Draw `(n, *shape)` samples of the prior: of all the teacher's classes alike, as far as there are any.

    A prior is drawn without any teacher in mind. Of pictures drawn by procedure a digit classifier took 82%
    for an eight and none for a three, and its logits were a third of what they are on digits. How sure a
    classifier is tells what it was trained on from the rest (Hendrycks and Gimpel, ICLR 2017), if not well:
    the surest of all would be of one class, the surest of very many all alike. So of each class those are
    taken that the teacher is surest of.

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


def draw_labelled(
    prior: Prior, teacher: Logits, n: int, place: torch.device, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw `(n, *shape)` samples of the prior and tell the class `(n,)` that the teacher gives each.

    For a pool that lets go of its commonest class first (`Bank.add`): where kinds of pictures are weighed, of
    most classes there are too few to choose from (docs/tried.md, Classes evened).
    """
    x = prior.draw(n, generator)
    return x, label(teacher, x.to(place)).argmax(1).cpu()


def is_weighed(prior: Prior) -> bool:
    """Whether kinds of pictures are drawn by what the teacher tells apart."""
    return isinstance(prior, ImagePrior) and prior.worth is not None


def label(teacher: Logits, x: Tensor) -> Tensor:
    """The teacher's logits `(B, K)` of many samples `(B, *shape)`, a few at a time and without a gradient."""
    with torch.no_grad():
        return in_parts(teacher, _AT_ONCE)(x)


def surest_of_each_class(logits: Tensor) -> Tensor:
    """Order `(B, K)` logits: first the surest of every class, then the next of every class, and so on.

    Sure is who gives its class a logit far above the mean of all.

    Returns:
        `(B,)` indices.
    """
    height, seen = (logits - logits.mean(1, keepdim=True)).max(1)
    return in_turn(seen, height.argsort(descending=True))
