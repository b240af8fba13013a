"""Compare a converted teacher with onnxruntime before anyone uses it: values, batches and gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx import TensorProto
from torch import nn

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.inputs import DTYPES
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.relation import from_logits, to_logits
from cake_onnx.graph.runtime import Array, bound_arrays, draw_inputs, open_session, scores
from cake_onnx.graph.specs import Bounds, InputSpec, OutputSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_ABSOLUTE = 1e-4
_RELATIVE = 1e-3
_SMALLEST_COMPARED = -13.8
"""Logarithm of a probability of one in a million."""
_HALF_RELATIVE = 2e-2
_QUANTISED_RELATIVE = 0.25
_QUANTISED_AGREEMENT = 0.95
_NEAR_TIE = 0.02
"""Two steps of an 8-bit grid over the largest logit: classes this close may swap by a single rounding."""
_SAMPLES = 32
_SINGLES = 4
_GRADIENT_SAMPLES = 4
_GRADIENT_TOLERANCE = 0.1
_STEPS = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4)


@dataclass(frozen=True)
class Parity:
    """How far two implementations of one classifier are apart.

    Attributes:
        max_abs_diff: Largest difference of any logit, in logit units.
        tolerance: Largest difference that was allowed.
        top1_agreement: Share of samples with the same best class.
        n: Samples compared.
        quantised: The teacher computes with rounded integers, where single roundings may flip.
        gradient_norm: Median Euclidean norm of the gradient of a random weighting of the logits with respect
            to one input, NaN where gradients were not compared.
    """

    max_abs_diff: float
    tolerance: float
    top1_agreement: float
    n: int
    quantised: bool
    gradient_norm: float

    def __str__(self) -> str:
        if self.quantised:
            return f"top-1 {self.top1_agreement:.1%} of {self.n}, largest difference {self.max_abs_diff:.1e}"
        return f"largest difference {self.max_abs_diff:.1e} of {self.tolerance:.1e} allowed"


def check_parity(
    module: nn.Module,
    session: InferenceSession,
    input: InputSpec,
    output: OutputSpec,
    prepared: Prepared,
    seed: int,
) -> Parity:
    """Compare a converted teacher with onnxruntime on random inputs within the bounds.

    Logits are compared with the prepared body, scores with the original model; samples go through one by one
    and as a batch. The gradient must be finite, not zero, and (for float graphs) within 10 % of a central
    difference of onnxruntime along its own direction, for the best of several step sizes.

    Args:
        module: The converted teacher, `(B, *shape)` to `(B, K)` logits.
        session: The original model.
        input: Its data input.
        output: Its score output.
        prepared: What was converted.
        seed: Of the random inputs.

    Raises:
        UnsupportedTeacherError: Something differs by more than the tolerance; the text says what.
    """
    x = _inputs(input, seed)
    body = open_session(prepared.body.SerializeToString())
    wanted = _comparable(_logits(body, input, prepared, x), prepared)
    found = _comparable(_run(module, x), prepared)
    if found.shape != (len(x), output.classes) or not np.isfinite(found).all():
        raise _missed(
            "finite logits of shape", [len(x), output.classes], f"{list(found.shape)}, or not finite"
        )
    tolerance = _tolerance(wanted, prepared)
    parity = Parity(
        max_abs_diff=float(np.abs(found - wanted).max()),
        tolerance=tolerance,
        top1_agreement=_agreement(found, wanted),
        n=len(x),
        quantised=prepared.quantised,
        gradient_norm=_gradient_norm(module, body, input, prepared, x[:_GRADIENT_SAMPLES]),
    )
    _require_values(parity, found, wanted)
    _require_singles(module, x, found, prepared)
    _require_scores(session, input, output, prepared, x, _run(module, x))
    return parity


def _inputs(input: InputSpec, seed: int) -> Array:
    """Half uniform within the bounds, half normal around their middle, three deviations wide, clipped."""
    low, high = bound_arrays(input)
    uniform = draw_inputs(input, _SAMPLES // 2, seed)
    normal = np.random.default_rng(seed + 1).standard_normal(uniform.shape).astype(np.float32)
    scaled = np.clip((low + high) / 2 + normal * (high - low) / 6, low, high)
    if np.dtype(input.dtype).kind in "iu":
        scaled = np.rint(scaled)
    return np.concatenate([uniform, scaled.astype(np.float32)])


def _logits(body: InferenceSession, input: InputSpec, prepared: Prepared, x: Array) -> Array:
    """Logits `(B, K)` of the prepared body, by onnxruntime."""
    described = OutputSpec(prepared.cut.tensor, None, "logits", 1, None)
    raw = scores(body, input, described, x)
    return to_logits(torch.from_numpy(raw), prepared.cut.relation).numpy()


def _comparable(logits: Array, prepared: Prepared) -> Array:
    """Logits, or log-probabilities with a floor where logits are computed from probabilities.

    The far tail of a probability is rounding: onnxruntime and torch differ there by orders of magnitude.
    """
    if prepared.cut.relation != "log":
        return logits
    logs = torch.from_numpy(logits).log_softmax(dim=1)
    floored: Array = logs.clamp_min(_SMALLEST_COMPARED).numpy()
    return floored


def _run(module: nn.Module, x: Array) -> Array:
    try:
        with torch.no_grad():
            result: Array = module(torch.from_numpy(x)).to(torch.float32).numpy()
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        raise UnsupportedTeacherError(
            "a converted teacher that runs",
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            "report this model: an operator of it is converted wrongly",
        ) from error
    return result


def _tolerance(wanted: Array, prepared: Prepared) -> float:
    relative = _HALF_RELATIVE if _is_half(prepared) else _RELATIVE
    return _ABSOLUTE + (_QUANTISED_RELATIVE if prepared.quantised else relative) * float(np.abs(wanted).max())


def _is_half(prepared: Prepared) -> bool:
    """Whether the teacher computes in float16, which onnxruntime does and the converted module does not."""
    codes = {tensor.data_type for tensor in prepared.body.graph.initializer}
    return TensorProto.FLOAT16 in codes


def _agreement(found: Array, wanted: Array) -> float:
    return float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean())


def _near_agreement(found: Array, wanted: Array) -> float:
    """Share of samples whose best class is the best of onnxruntime too, or within two roundings of it."""
    chosen = np.take_along_axis(wanted, found.argmax(axis=1)[:, None], axis=1)[:, 0]
    return float((wanted.max(axis=1) - chosen <= _NEAR_TIE * np.abs(wanted).max()).mean())


def _require_values(parity: Parity, found: Array, wanted: Array) -> None:
    if not parity.max_abs_diff <= parity.tolerance:
        raise _missed(
            "logits within", f"{parity.tolerance:.3g}", f"a difference of {parity.max_abs_diff:.3g}"
        )
    near = _near_agreement(found, wanted)
    if parity.quantised and near < _QUANTISED_AGREEMENT:
        raise _missed("the same class for", f"{_QUANTISED_AGREEMENT:.0%}", f"{near:.0%}")


def _require_singles(module: nn.Module, x: Array, batched: Array, prepared: Prepared) -> None:
    tolerance = _tolerance(batched, prepared)
    for i in range(_SINGLES):
        single = _comparable(_run(module, x[i : i + 1]), prepared)
        difference = float(np.abs(single - batched[i : i + 1]).max())
        if not difference <= tolerance:
            raise _missed(
                "samples independent of their batch, within", f"{tolerance:.3g}", f"{difference:.3g}"
            )


def _require_scores(
    session: InferenceSession,
    input: InputSpec,
    output: OutputSpec,
    prepared: Prepared,
    x: Array,
    found: Array,
) -> None:
    """Compare what the original model says with what its own tail says of the module's logits."""
    original = np.concatenate([scores(session, input, output, x[i : i + 1]) for i in range(len(x))])
    ours = run_tail(prepared, output, found)
    tolerance = _tolerance(original, prepared)
    difference = float(np.abs(original - ours).max())
    if not difference <= tolerance:
        raise _missed(
            f"output '{output.scores}' within", f"{tolerance:.3g}", f"a difference of {difference:.3g}"
        )


def run_tail(prepared: Prepared, output: OutputSpec, logits: Array) -> Array:
    """What the teacher's own tail makes of logits `(B, K)`: scores `(B, K)` in the units of its output."""
    raw = from_logits(torch.from_numpy(logits), prepared.cut.relation).numpy()
    if not prepared.tail.graph.node:
        return raw
    value = prepared.tail.graph.input[0]
    sizes = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])
    shape = sizes if sizes and all(sizes) else raw.shape[1:]
    unbounded = Bounds((-1.0,), (1.0,), "not an input of the model", assumed=True)
    described = InputSpec(value.name, shape, DTYPES[value.type.tensor_type.elem_type], "flat", unbounded)
    session = open_session(prepared.tail.SerializeToString(), threads=1)
    return scores(session, described, output, raw.reshape(len(raw), *shape))


def _gradient_norm(
    module: nn.Module, body: InferenceSession, input: InputSpec, prepared: Prepared, x: Array
) -> float:
    classes = _logits(body, input, prepared, x[:1]).shape[1]
    weights = np.random.default_rng(0).standard_normal((classes,)).astype(np.float32)
    gradient = _gradient(module, x, weights)
    norms = np.linalg.norm(gradient.reshape(len(x), -1), axis=1)
    if not np.isfinite(norms).all():
        raise _missed("a finite gradient", "", "NaN or infinity in it")
    if not (norms > 0).any():
        raise _missed("a gradient that is not zero", "", "zero on every sample tried")
    if not (prepared.quantised or _is_half(prepared)) and np.dtype(input.dtype).kind == "f":
        matches = [
            _matches_difference(body, input, prepared, x[i], gradient[i], weights)
            for i in range(len(x))
            if norms[i] > 0
        ]
        # A kink (ReLU, max) close to one sample can spoil one comparison; a wrong gradient spoils them all.
        if sum(matches) * 2 < len(matches):
            raise _missed("gradients within 10 % of onnxruntime's differences", "", f"{sum(matches)} right")
    return float(np.median(norms))


def _gradient(module: nn.Module, x: Array, weights: Array) -> Array:
    """Gradient `(B, *shape)` of a weighted sum of the logits; `weights` is `(K,)`."""
    point = torch.from_numpy(x).requires_grad_()
    logits = module(point)
    total = (logits @ torch.from_numpy(weights)).sum()
    if not total.requires_grad:
        raise _missed("a gradient of the scores", "", "none: an operator does not pass it on")
    (gradient,) = torch.autograd.grad(total, point, allow_unused=True)
    if gradient is None:
        raise _missed("a gradient of the scores", "", "none: an operator does not pass it on")
    result: Array = gradient.numpy()
    return result


def _matches_difference(
    body: InferenceSession, input: InputSpec, prepared: Prepared, x: Array, gradient: Array, weights: Array
) -> bool:
    low, high = bound_arrays(input)
    norm = float(np.linalg.norm(gradient))
    width = float(np.mean(high - low)) * x.size**0.5
    direction = gradient / norm
    for step in _STEPS:
        reach = step * width * direction
        ends = _logits(body, input, prepared, np.stack([x + reach, x - reach]))
        slope = float((ends[0] - ends[1]) @ weights) / (2 * step * width)
        if abs(slope - norm) <= _GRADIENT_TOLERANCE * norm:
            return True
    return False


def _missed(what: str, limit: object, found: str) -> UnsupportedTeacherError:
    return UnsupportedTeacherError(
        f"{what} {limit}".strip() + ", comparing the converted teacher with onnxruntime",
        found,
        "report this model: an operator of it is converted wrongly",
    )
