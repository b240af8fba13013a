"""Many samples through a graph that takes a fixed number of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cake_onnx.errors import RunFailedError, UnsupportedTeacherError
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.runtime import Array, draw_inputs, open_session, scores
from cake_onnx.graph.specs import InputSpec, OutputSpec

Way = Literal[
    "any batch at once",
    "batch axis freed",
    "one sample at a time (vmap)",
    "one sample at a time (loop)",
    "in groups as large as the file's batch (vmap)",
    "in groups as large as the file's batch (loop)",
]

_SAMPLES = 3
_CLOSE = 1e-3
_CLOSE_ROUNDED = 0.1
"""Single roundings may fall otherwise; a mixed-up batch differs by far more than this."""


class InGroups(nn.Module):
    """A body that takes `size` samples, over any number of them.

    Args:
        body: `(size, *shape)` to the raw score tensor.
        size: Samples a call.
        mapped: `torch.vmap` over the groups, else a loop.
    """

    def __init__(self, body: nn.Module, size: int, *, mapped: bool) -> None:
        super().__init__()
        self.body = body
        self.size = size
        self.mapped = mapped

    def forward(self, x: Tensor) -> Tensor:
        """`(B, *shape)` to raw scores `(B, C)`; a last group is filled with its last sample."""
        missing = -len(x) % self.size
        full = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x
        groups = full.reshape(-1, self.size, *x.shape[1:])
        if self.mapped:
            # The others of torch's attention kernels have no rule for vmap, and go sample by sample.
            with sdpa_kernel(SDPBackend.MATH):
                raw: Tensor = torch.vmap(self._one)(groups)
        else:
            raw = torch.stack([self._one(group) for group in groups])
        return raw.reshape(len(full), -1)[: len(x)]

    def extra_repr(self) -> str:
        """Size and way."""
        return f"size={self.size}, {'vmap' if self.mapped else 'loop'}"

    @property
    def way(self) -> Way:
        """In words."""
        if self.size == 1:
            return "one sample at a time (vmap)" if self.mapped else "one sample at a time (loop)"
        if self.mapped:
            return "in groups as large as the file's batch (vmap)"
        return "in groups as large as the file's batch (loop)"

    def _one(self, group: Tensor) -> Tensor:
        raw: Tensor = self.body(group)
        return raw.reshape(self.size, -1)


def let_any_batch_through(body: nn.Module, prepared: Prepared, input: InputSpec) -> tuple[nn.Module, Way]:
    """The converted body as a module for any number of samples, and how that is done.

    Where the batch axis could not be freed, `torch.vmap` is tried before a loop; whichever first gives what
    onnxruntime gives sample by sample, and a gradient, is taken.

    Args:
        body: The converted body.
        prepared: What it was converted from.
        input: The data input.

    Raises:
        UnsupportedTeacherError: The body is tied to a batch whose samples depend on each other.
    """
    size = prepared.fixed_batch
    if size is None:
        return body, "batch axis freed" if prepared.freed else "any batch at once"
    x, wanted = _truth(prepared, input, size)
    mapped = InGroups(body, size, mapped=True)
    chosen = (
        mapped
        if _gives(mapped, x, wanted, rounded=prepared.quantised)
        else InGroups(body, size, mapped=False)
    )
    return chosen, chosen.way


def _truth(prepared: Prepared, input: InputSpec, size: int) -> tuple[Array, Array]:
    """Samples with their raw scores by onnxruntime, each alone in its batch; alone and among others alike."""
    described = OutputSpec(prepared.cut.tensor, None, "logits", 1, None)
    session = open_session(prepared.body.SerializeToString(), threads=1)
    x = draw_inputs(input, _SAMPLES, seed=2)
    try:
        alone = np.concatenate([scores(session, input, described, x[i : i + 1]) for i in range(len(x))])
        together = scores(session, input, described, x)
    except RunFailedError as error:
        raise _tied(size, error.found) from error
    if size > 1 and not _close(together, alone, rounded=prepared.quantised):
        raise _tied(size, "whose samples depend on each other or on their place in the batch")
    return x, alone


def _gives(module: nn.Module, x: Array, wanted: Array, *, rounded: bool) -> bool:
    point = torch.from_numpy(x).requires_grad_()
    try:
        found = module(point)
        if found.requires_grad:
            torch.autograd.grad(found.sum(), point, allow_unused=True)
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError):
        # Some operator looks at values, which torch.vmap forbids; a loop may.
        return False
    return _close(found.detach().to(torch.float32).numpy(), wanted, rounded=rounded)


def _close(found: Array, wanted: Array, *, rounded: bool) -> bool:
    allowed = (_CLOSE_ROUNDED if rounded else _CLOSE) * max(1.0, float(np.abs(wanted).max()))
    return found.shape == wanted.shape and bool(np.abs(found - wanted).max() <= allowed)


def _tied(size: int, why: str) -> UnsupportedTeacherError:
    return UnsupportedTeacherError(
        "a model that takes any batch, or one sample at a time",
        f"one tied to batches of {size}, {why}",
        "export the model with a dynamic batch axis",
    )
