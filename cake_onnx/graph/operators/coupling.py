"""Class probabilities from those of pairs of classes.

Wu, Lin, Weng, "Probability Estimates for Multi-class Classification by Pairwise Coupling" (JMLR 5, 2004):
the p of sum 1 that minimises pᵀQp, found by cyclic updates (their algorithm 2) until the optimality
conditions hold to 0.005 / K, as libsvm and onnxruntime stop.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SWEEPS = 100
_LOOK_EVERY = 5


def couple(chances: Tensor, classes: int) -> Tensor:
    """Probabilities `(B, K)` from those of the first class of each pair, `(B, K(K-1)/2)` in (0, 1).

    The value is that of the iteration, early stop included; the gradient is that of the exact solution, which
    the iteration approaches.
    """
    form = _quadratic_form(chances, classes)
    exact = _minimum(form.to(torch.float64)).to(chances.dtype)
    return exact + (_iterated(form.detach()) - exact).detach()


def _quadratic_form(chances: Tensor, classes: int) -> Tensor:
    """Q `(B, K, K)`."""
    rows, columns = torch.triu_indices(classes, classes, offset=1, device=chances.device)
    pairs = torch.arange(len(rows), device=chances.device)
    place = torch.zeros(classes, classes, dtype=torch.int64, device=chances.device)
    place = place.index_put((rows, columns), pairs).index_put((columns, rows), pairs)
    upper = torch.ones(classes, classes, dtype=torch.bool, device=chances.device).triu(1)
    diagonal = torch.eye(classes, dtype=torch.bool, device=chances.device)
    # r[i, j]: chance of class i against class j.
    all_pairs = chances[..., place.reshape(-1)].unflatten(-1, (classes, classes))
    r = torch.where(upper, all_pairs, 1 - all_pairs).masked_fill(diagonal, 0.0)
    return torch.diag_embed(r.square().sum(dim=-2)) - r * r.transpose(-1, -2)


def _minimum(form: Tensor) -> Tensor:
    """The p of sum 1 that minimises pᵀQp, by its optimality conditions."""
    ones = torch.ones_like(form[..., :1])
    top = torch.cat([form, ones], dim=-1)
    bottom = torch.cat([ones.transpose(-1, -2), torch.zeros_like(form[..., :1, :1])], dim=-1)
    zeros = torch.zeros_like(form[..., :1])
    right = torch.cat([zeros, torch.ones_like(zeros[..., :1, :])], dim=-2)
    solved: Tensor = torch.linalg.solve(torch.cat([top, bottom], dim=-2), right)
    return solved[..., :-1, 0]


def _iterated(form: Tensor) -> Tensor:
    """The iteration's result `(B, K)` for Q `(B, K, K)`."""
    classes = form.shape[-1]
    p = torch.full_like(form[..., 0], 1 / classes)
    done = torch.zeros_like(p[..., :1], dtype=torch.bool)
    for sweep in range(max(_SWEEPS, classes)):
        gradient = (form @ p.unsqueeze(-1)).squeeze(-1)
        value = (p * gradient).sum(dim=-1, keepdim=True)
        done = done | ((gradient - value).abs().amax(dim=-1, keepdim=True) < 0.005 / classes)
        if sweep % _LOOK_EVERY == 0 and _all(done):
            break
        p = torch.where(done, p, _swept(form, p, gradient, value))
    return p


def _swept(form: Tensor, p: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
    """One update of every class in turn."""
    for t in range(form.shape[-1]):
        curvature = form[..., t, t : t + 1]
        step = (value - gradient[..., t : t + 1]) / curvature
        value = (value + step * (step * curvature + 2 * gradient[..., t : t + 1])) / (1 + step).square()
        gradient = (gradient + step * form[..., t, :]) / (1 + step)
        unit = torch.nn.functional.one_hot(torch.tensor(t, device=p.device), form.shape[-1]).to(p.dtype)
        p = (p + step * unit) / (1 + step)
    return p


def _all(done: Tensor) -> bool:
    """Whether all samples are done; under `torch.vmap`, where that cannot be asked, never."""
    try:
        return bool(done.all())
    except RuntimeError:
        return False
