"""The mathematics: per-sample losses in units of the teacher's own logits.

Nothing here averages over a batch, so the path of a sample never depends on who travels beside it; the two
`published_*` functions are the exception, because they reproduce batch means of CAKE's released code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def logit_spread(logits: Tensor) -> Tensor:
    """Standard deviation of per-sample centred logits `(B, K)`, a scalar: the unit of the terms below."""
    return (logits - logits.mean(1, keepdim=True)).std()


def class_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy of each sample to the class it should be seen as (CAKE, L_cls).

    Args:
        logits: Teacher logits `(B, K)`.
        wanted: Class indices `(B,)`.

    Returns:
        `(B,)`, at least 0.
    """
    return F.cross_entropy(logits, wanted, reduction="none")


def class_slope(logits: Tensor, wanted: Tensor) -> Tensor:
    """Derivative of the sum of `class_loss` with respect to the logits, `(B, K)`.

    Args:
        logits: Teacher logits `(B, K)`.
        wanted: Class indices `(B,)`.
    """
    slope = logits.softmax(1)
    return slope.scatter_add_(1, wanted[:, None], slope.new_full((len(wanted), 1), -1.0))


def pairwise_contrast(logits: Tensor) -> Tensor:
    """Sum over all ordered pairs of a group of their squared logit distance (CAKE, L_contr).

    The released code builds a `(N, G, G, K)` tensor; the same sum is
    `sum_ij |z_i - z_j|^2 = 2 G sum_i |z_i|^2 - 2 |sum_i z_i|^2`, linear in G and K. It is evaluated around
    the mean of the group, where the second term vanishes and nothing cancels.

    Args:
        logits: `(N, G, K)`, the samples of a group wanting different classes.

    Returns:
        `(N,)`, at least 0.
    """
    centred = logits - logits.mean(1, keepdim=True)
    return 2 * logits.shape[1] * centred.square().sum((1, 2))


def contrast_pull(logits: Tensor, spread: Tensor) -> Tensor:
    """Squared distance of each sample's logits from the mean of its group, in units of the teacher's spread.

    The share of one sample in `pairwise_contrast`, up to the factor 2 G: pulling every member to the mean
    pulls all pairs together, and the place where samples of different wanted classes meet is the boundary.

    Args:
        logits: `(N, G, K)`.
        spread: Standard deviation of the teacher's logits, a scalar tensor above 0.

    Returns:
        `(N * G,)`, at least 0.
    """
    mean = logits.mean(1, keepdim=True)
    return ((logits - mean) / spread).square().mean(2).flatten()


def contrast_slope(logits: Tensor, spread: Tensor) -> Tensor:
    """Derivative of the sum of `contrast_pull` with respect to the logits, `(N * G, K)`.

    What the mean contributes cancels, since the distances from it sum to nothing.

    Args:
        logits: `(N, G, K)`.
        spread: Standard deviation of the teacher's logits, a scalar tensor above 0.
    """
    centred = logits - logits.mean(1, keepdim=True)
    return (centred * (2 / logits.shape[2] / spread.square())).flatten(0, 1)


def disagreement(teacher: Tensor, student: Tensor, spread: Tensor) -> Tensor:
    """Mean absolute logit difference per sample in units of the teacher's spread (DFAD, Fang et al. 2019).

    Both sides are centred first, since a constant added to all logits changes no probability.

    Args:
        teacher: `(B, K)`.
        student: `(B, K)`.
        spread: Standard deviation of the teacher's logits, a scalar tensor above 0.

    Returns:
        `(B,)`, at least 0.
    """
    gap = (teacher - teacher.mean(1, keepdim=True)) - (student - student.mean(1, keepdim=True))
    return gap.abs().mean(1) / spread


def disagreement_slope(teacher: Tensor, student: Tensor, spread: Tensor) -> Tensor:
    """Derivative of the sum of `disagreement` with respect to the teacher's logits, `(B, K)`.

    That with respect to the student's is its negative.

    Args:
        teacher: `(B, K)`.
        student: `(B, K)`.
        spread: Standard deviation of the teacher's logits, a scalar tensor above 0.
    """
    gap = teacher - student
    sides = (gap - gap.mean(1, keepdim=True)).sign()
    return (sides - sides.mean(1, keepdim=True)) / (teacher.shape[1] * spread)


def soft_label_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL divergence from the teacher's soft labels to the student's, times T^2 (Hinton et al. 2015).

    Args:
        student: Logits `(B, K)`.
        teacher: Logits `(B, K)`, no gradient flows into them.
        temperature: T > 0.

    Returns:
        `(B,)`, at least 0.
    """
    wanted = F.log_softmax(teacher.detach() / temperature, 1)
    given = F.log_softmax(student / temperature, 1)
    return F.kl_div(given, wanted, reduction="none", log_target=True).sum(1) * temperature**2


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, down plus across, mean over channels (CAKE, L_TV).

    Args:
        images: `(B, C, H, W)`; an axis of length 1 contributes 0.

    Returns:
        `(B,)`, at least 0.
    """
    down = (images[:, :, 1:] - images[:, :, :-1]).abs()
    across = (images[..., 1:] - images[..., :-1]).abs()
    return sum(
        (part.flatten(1).mean(1) if part.numel() else part.new_zeros(len(images)) for part in (down, across)),
        images.new_zeros(len(images)),
    )


def published_objective(
    logits: Tensor, wanted: Tensor, prior: Tensor, w_class: float, w_contrast: float, w_prior: float
) -> Tensor:
    """CAKE's objective of one set, scaled as in the authors' released code.

    `w_class * G * mean CE + w_contrast * G^2 / 2 * mean_{n,i,j,k} (z_nik - z_njk)^2 + w_prior * mean L_TV`

    Args:
        logits: `(N, G, K)`.
        wanted: `(N, G)`.
        prior: `(N * G,)`, total variation or another prior term.
        w_class: Weight of the class term.
        w_contrast: Weight of the contrast.
        w_prior: Weight of the prior.

    Returns:
        A scalar.
    """
    count, group, classes = logits.shape
    class_term = group * class_loss(logits.flatten(0, 1), wanted.flatten()).mean()
    contrast = 0.5 * pairwise_contrast(logits).sum() / (count * classes)
    return w_class * class_term + w_contrast * contrast + w_prior * prior.mean()


def margin(logits: Tensor) -> Tensor:
    """Difference of the two largest logits, `(B, K)` to `(B,)`: 0 on the decision boundary."""
    best = torch.topk(logits, 2, dim=1).values
    return best[:, 0] - best[:, 1]
