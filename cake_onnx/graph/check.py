"""Compare a converted teacher with onnxruntime before anyone uses it: values, batches and gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from cake_onnx.errors import UnsupportedTeacherError, with_its_kind
from cake_onnx.graph.case import Case, own_differences
from cake_onnx.graph.closeness import agreement, closeness_of
from cake_onnx.graph.inputs import DTYPES
from cake_onnx.graph.oracle import RANGE_REMEDY, Oracle, comparable_logits, computable
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.probes import draw_probes
from cake_onnx.graph.relation import from_logits
from cake_onnx.graph.runtime import Array, open_session, scores
from cake_onnx.graph.slopes import Differences, Slopes, compare_slopes, score_gradients, score_weights
from cake_onnx.graph.specs import Bounds, InputSpec, OutputSpec
from cake_onnx.graph.sums import cuts_sums_of, multiplies_integers

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_MIXED = (-1, 0, 5)
"""A small batch of samples from other places of the large one."""
_ROUNDING = 3e-6
"""Change over the largest logit that a finite difference in float32 must exceed."""
_CUT = (
    "use a processor with VNNI: on this one onnxruntime cuts sums of int8 products off, and its "
    "way around that does not serve all operators of this model"
)
_REPORT = "run `cake-onnx inspect MODEL --trace`, which names the first operator that differs, and report it"


@dataclass(frozen=True)
class Parity:
    """How far two implementations of one classifier are apart.

    Attributes:
        max_abs_diff: Largest difference of any logit, in logit units.
        tolerance: Largest difference that was allowed for any class.
        top1_agreement: Share of samples with the same best class.
        n: Samples compared.
        quantised: The teacher computes with rounded numbers, where single roundings may flip.
        gradient_norm: Median Euclidean norm of the gradient of one score with respect to one input, NaN
            where gradients were not compared.
        gradient_error: Median relative difference between gradients and onnxruntime's finite differences
            along them, NaN where they were not compared.
    """

    max_abs_diff: float
    tolerance: float
    top1_agreement: float
    n: int
    quantised: bool
    gradient_norm: float
    gradient_error: float = float("nan")

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
    """Compare a converted teacher with onnxruntime; `Closeness` says what counts as equal.

    - The body by onnxruntime, one sample at a time, is the truth for the module: for all samples in one
      batch, for single ones, and for a few in another order, the last again after gradients were taken.
    - The tail by onnxruntime makes of the body's logits what the original model says.
    - Gradients are finite, not all zero, and match differences of onnxruntime (`compare_slopes`).

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
    body = prepared.body
    cut = cuts_sums_of(body) and multiplies_integers(body)
    # What the optimiser joins rounds at other places, but without it cut sums stay cut.
    session_of_body = open_session(
        body.SerializeToString(), threads=1, optimised=cut or not prepared.quantised
    )
    try:
        return _compare(module, session, Oracle(session_of_body, input, prepared), output, seed)
    except UnsupportedTeacherError as error:
        if not cut or error.remedy != _REPORT:
            raise
        raise UnsupportedTeacherError(error.expected, error.found, _CUT) from error


def _compare(
    module: nn.Module, session: InferenceSession, truth: Oracle, output: OutputSpec, seed: int
) -> Parity:
    prepared = truth.prepared
    probes, logits = computable(truth, draw_probes(truth.input, seed))
    wanted = truth.comparable(logits)
    found = truth.comparable(run_module(module, probes.x))
    if found.shape != (len(probes), output.classes) or not np.isfinite(found).all():
        raise _missed(
            f"finite logits of shape [{len(probes)}, {output.classes}]", f"{list(found.shape)}, or not finite"
        )
    closeness = closeness_of(prepared.body, quantised=prepared.quantised)
    own = own_differences(truth, probes, wanted) if prepared.quantised else np.zeros_like(wanted)
    case = Case(module, truth, probes, wanted, found, closeness, own)
    allowed = _require_values(case)
    _require_scores(session, case, output, logits)
    slopes = _compare_gradients(case)
    _require_positions(case)
    return Parity(
        max_abs_diff=float(np.abs(found - wanted).max()),
        tolerance=float(allowed.max()),
        top1_agreement=agreement(found, wanted),
        n=len(probes),
        quantised=closeness.rounds,
        gradient_norm=float(np.median(slopes.norms)),
        gradient_error=float(np.nanmedian(slopes.along)),
    )


def run_module(module: nn.Module, x: Array) -> Array:
    """Logits `(B, K)` of a converted teacher.

    Raises:
        UnsupportedTeacherError: It does not run.
    """
    try:
        with torch.no_grad():
            result: Array = module(torch.from_numpy(x)).to(torch.float32).numpy()
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        raise UnsupportedTeacherError(
            "a converted teacher that runs",
            with_its_kind(error),
            "report this model: an operator of it is converted wrongly",
        ) from error
    return result


def _require_values(case: Case) -> Array:
    """The differences that were allowed."""
    found, wanted, everything = case.found, case.wanted, list(range(len(case.probes)))
    allowed = case.widened(np.abs(found - wanted), case.allowed(wanted), everything)
    for rows in case.probes.alike():
        miss = case.closeness.worst_miss(found[rows], wanted[rows], allowed[rows])
        if miss is not None:
            row, column = rows[miss[0]], miss[1]
            raise _missed(
                f"logits within {allowed[row, column]:.3g}",
                f"{found[row, column]:.5g} for {wanted[row, column]:.5g}, class {column} of "
                f"{case.probes.kinds[row]}",
            )
    text = case.closeness.overall_miss(found, wanted)
    if text:
        raise _missed(*text)
    return allowed


def _require_positions(case: Case) -> None:
    """Each kind of sample alone, and some in another order, must give what they gave in the large batch."""
    probes, allowed = case.probes, case.allowed(case.found)
    first_of_kind = sorted({kind: i for i, kind in reversed(list(enumerate(probes.kinds)))}.values())
    mixed = [place % len(probes) for place in _MIXED]
    # Other batch sizes sum in another order, so a rounding of a quantised graph may fall otherwise.
    flipped = case.closeness.flipped * np.ptp(case.wanted, axis=0).max()
    for rows in (*([i] for i in first_of_kind), mixed):
        again = case.truth.comparable(run_module(case.module, probes.x[rows]))
        if again.shape != case.found[rows].shape:
            raise _missed("a row of logits for each sample", f"shape {list(again.shape)} for {len(rows)}")
        difference = np.abs(again - case.found[rows])
        if not (difference <= case.widened(difference, allowed[rows], rows) + flipped).all():
            raise _missed(
                f"samples independent of their batch, within {allowed[rows].max():.3g}",
                f"{difference.max():.3g} off for {probes.kinds[rows[0]]} in a batch of {len(rows)}",
            )


def _require_scores(session: InferenceSession, case: Case, output: OutputSpec, logits: Array) -> None:
    """Compare what the original model says with what its own tail says of the body's logits."""
    x, truth = case.probes.x, case.truth
    original = np.concatenate([scores(session, truth.input, output, x[i : i + 1]) for i in range(len(x))])
    ours = run_tail(truth.prepared, output, logits)
    if ours.shape != original.shape:
        raise _missed(f"output '{output.scores}' of shape {list(original.shape)}", f"{list(ours.shape)}")
    # Rounding noise of large logits comes through a softmax undiminished.
    noise = case.closeness.noise * np.abs(logits).max(axis=1, keepdims=True)
    difference = np.abs(original - ours)
    allowed = case.widened(difference, case.allowed(original) + noise, list(range(len(x))))
    # With its kernels fused, onnxruntime rounds the original elsewhere than the operators as they stand.
    allowed += case.closeness.flipped * np.ptp(original, axis=0).max()
    if not (difference <= allowed).all():
        raise _missed(
            f"output '{output.scores}' within {allowed.max():.3g}", f"a difference of {difference.max():.3g}"
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


def _compare_gradients(case: Case) -> Slopes:
    truth, probes = case.truth, case.probes
    rows = probes.typical(len(probes.typical(len(probes))) // 2)
    x, weights = probes.x[rows], score_weights(len(rows), case.wanted.shape[1])
    gradient, logits = score_gradients(case.module, x, weights)
    if gradient is None:
        raise _missed("a gradient of the scores", "none: an operator does not pass it on")
    difference = np.abs(truth.comparable(logits) - case.found[rows])
    if not (difference <= case.widened(difference, case.allowed(case.found)[rows], rows)).all():
        raise _missed("the same logits with and without gradients", f"a difference of {difference.max():.3g}")
    if not np.isfinite(gradient).all():
        raise _missed("a finite gradient", "NaN or infinity in it")
    if not gradient.any():
        raise _missed("a gradient that is not zero", "zero on every sample tried")
    if truth.prepared.cut.relation == "log":
        compared = score_gradients(
            lambda point: comparable_logits(case.module(point), truth.prepared), x, weights
        )[0]
        gradient = np.zeros_like(x) if compared is None else compared
    spread = float(np.std(case.wanted[probes.typical(len(probes))] @ weights.T, axis=0).mean())
    smallest = _ROUNDING * float(np.abs(case.wanted[rows]).max())
    differences = Differences(lambda x: truth.comparable(truth.logits(x)), truth.input, spread, smallest)
    slopes = compare_slopes(differences, gradient, x, weights, coarse=case.closeness.coarse)
    if not (~np.isnan(slopes.along)).any():
        raise UnsupportedTeacherError(
            "scores that change with the input", "changes too small to be told from rounding", RANGE_REMEDY
        )
    text = case.closeness.slope_miss(slopes)
    if text:
        raise _missed(*text)
    return slopes


def _missed(what: str, found: str) -> UnsupportedTeacherError:
    return UnsupportedTeacherError(
        f"{what}, comparing the converted teacher with onnxruntime", found, _REPORT
    )
