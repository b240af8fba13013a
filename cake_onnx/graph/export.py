"""A student as a drop-in for its teacher: the student's graph, ending in the teacher's own tail."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import numpy as np
import onnx
import torch
from onnx import ModelProto, helper
from torch import Tensor, nn
from torch.nn.utils import parametrize

from cake_onnx.errors import RunFailedError, first_line
from cake_onnx.graph.added_norms import fold_norms
from cake_onnx.graph.check import Parity, run_tail
from cake_onnx.graph.graft import graft
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.relation import from_logits
from cake_onnx.graph.runtime import Array, draw_inputs, open_session, scores
from cake_onnx.graph.specs import InputSpec, OutputSpec
from cake_onnx.graph.tensors import opset_of
from cake_onnx.graph.trainable import TrainableGraph

OUR_PREFIX = "cake_onnx."
_OPSET = 18
"""The lowest that torch's exporter writes; readable by every onnxruntime since 1.14."""
_LARGER_BATCH = 7
_SMALLEST_COMPARED = 1e-5
"""Probabilities below this are rounding: 1 - p of a float32 p cannot be finer."""
_NOT_OURS_TO_KEEP = ("onnx.infer", "onnx.quant.pre_process")
"""Marks of onnxruntime's quantiser on the teacher's own nodes; untrue for another graph."""


def export_student(
    student: nn.Module,
    teacher: ModelProto,
    prepared: Prepared,
    input: InputSpec,
    output: OutputSpec,
    metadata: Mapping[str, str],
    least_opset: int = 0,
) -> bytes:
    """Write a student with exactly the teacher's signature.

    Names, element types, ranks, label outputs and map keys are the teacher's, because everything behind the
    teacher's raw scores is the teacher's own graph. The batch is dynamic even where the teacher's was fixed.
    The same student gives the same bytes.

    Args:
        student: `(B, *shape)` float32 in the teacher's input units to `(B, K)` logits; it is not changed.
        teacher: The model the tail and the metadata come from.
        prepared: How it was cut.
        input: Its data input.
        output: Its score output.
        metadata: Provenance; every key gets `cake_onnx.` in front.
        least_opset: The opset of the result is no older.

    Returns:
        A serialised model that `onnx.checker` accepts.

    Raises:
        RunFailedError: The exporter failed, or its result is not a valid model.
        UnsupportedTeacherError: The tail has operators that cannot be brought to the student's opset.
    """
    if isinstance(student, TrainableGraph) and _ends_alike(student, prepared):
        trunk = fold_norms(student.model())
    else:
        trunk = _export_trunk(_Trunk(student, prepared), input, _wanted_opset(teacher))
    model = graft(trunk, prepared, input, least_opset)
    model.producer_name = "cake-onnx"
    helper.set_model_props(model, _metadata(teacher, metadata))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise RunFailedError(
            f"a valid model with output '{output.scores}'",
            first_line(error),
            "report this teacher and student",
        ) from error
    # Deterministic serialisation sorts nothing that we leave unsorted, and costs nothing.
    return bytes(model.SerializeToString(deterministic=True))


def _ends_alike(student: TrainableGraph, prepared: Prepared) -> bool:
    """Whether the teacher's tail can read what the graph gives."""
    given, read = student.skeleton.graph.output[0], prepared.tail.graph.input[0]
    ranks = {len(value.type.tensor_type.shape.dim) for value in (given, read)}
    return student.relation == prepared.cut.relation and len(ranks) == 1


def check_export(
    student: nn.Module, data: bytes, prepared: Prepared, input: InputSpec, output: OutputSpec, seed: int = 0
) -> Parity:
    """Compare an exported student with the module it came from, at batch 1 and 7.

    Args:
        student: `(B, *shape)` float32 to `(B, K)` logits.
        data: What `export_student` gave for it.
        prepared: The teacher's cut; its tail is applied to the module's logits for the comparison.
        input: The data input of both.
        output: The score output of both.
        seed: Of the random inputs.

    Returns:
        The largest difference, in the units of the score output and, where that holds probabilities, of their
        logarithms too.

    Raises:
        RunFailedError: They differ by more than 1e-4 plus 1e-3 of the largest score or log-probability.
    """
    x = draw_inputs(input, _LARGER_BATCH, seed)
    session = open_session(data)
    found = [scores(session, input, output, batch) for batch in (x[:1], x)]
    trunk = copy.deepcopy(student).cpu().float().eval()
    with torch.no_grad():
        logits = trunk(torch.from_numpy(x)).numpy()
    wanted = run_tail(prepared, output, logits)
    both = np.concatenate(found), np.concatenate([wanted[:1], wanted])
    pairs = [both] if output.kind == "logits" else [both, (_logs(both[0]), _logs(both[1]))]
    worst, tolerance = 0.0, _tolerance(wanted)
    for ours, theirs in pairs:
        difference, allowed = float(np.abs(ours - theirs).max()), _tolerance(theirs)
        if not difference <= allowed:
            raise RunFailedError(
                f"exported student and torch within {allowed:.3g}", f"{difference:.3g}", "report this student"
            )
        worst, tolerance = max(worst, difference), max(tolerance, allowed)
    agreement = float((both[0].argmax(axis=1) == both[1].argmax(axis=1)).mean())
    return Parity(worst, tolerance, agreement, len(both[0]), quantised=False, gradient_norm=float("nan"))


def _logs(probabilities: Array) -> Array:
    return np.log(np.maximum(probabilities, _SMALLEST_COMPARED))


def _tolerance(wanted: Array) -> float:
    return 1e-4 + 1e-3 * float(np.abs(wanted).max())


class _Trunk(nn.Module):
    """A student up to the tensor that the teacher's tail reads."""

    def __init__(self, student: nn.Module, prepared: Prepared) -> None:
        super().__init__()
        self.student = _as_stored(copy.deepcopy(student).cpu().float().eval())
        self.relation = prepared.cut.relation
        dims = prepared.tail.graph.input[0].type.tensor_type.shape.dim
        self.sizes = tuple(dim.dim_value for dim in dims[1:]) if dims else None

    def forward(self, x: Tensor) -> Tensor:
        raw = from_logits(self.student(x), self.relation)
        if self.sizes is None or len(self.sizes) == 1 or not all(self.sizes):
            return raw
        return raw.reshape(-1, *self.sizes)


def _as_stored(student: nn.Module) -> nn.Module:
    """The student with the weights that parametrisations compute, such as weight normalisation, in place.

    Not by `remove_parametrizations`, which takes them from the student that this one was copied from as well:
    they are properties of a class that both have.
    """
    for layer in list(student.modules()):
        if parametrize.is_parametrized(layer):
            computed = {name: getattr(layer, name) for name in cast(nn.ModuleDict, layer.parametrizations)}
            layer.__class__ = parametrize.type_before_parametrizations(layer)
            del layer.parametrizations
            for name, value in computed.items():
                layer.register_parameter(name, nn.Parameter(value.detach(), requires_grad=False))
    return student


def _wanted_opset(teacher: ModelProto) -> int:
    return max(_OPSET, opset_of(teacher) or 0)


def _export_trunk(trunk: nn.Module, input: InputSpec, opset: int) -> ModelProto:
    """The trunk as a model `x -> raw`, without stack traces and other traces of where it was made."""
    from onnx_ir import passes

    # Two samples: torch.export takes a dimension of one for a constant.
    example = torch.zeros(2, *input.shape)
    newest = onnx.defs.onnx_opset_version()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                trunk,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=["x"],
                output_names=["raw"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                opset_version=min(opset, newest),
            )
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        raise RunFailedError(
            "a student that torch exports", first_line(error), "use another student family"
        ) from error
    if program is None:
        raise RunFailedError("a student that torch exports", "no model", "use another student family")
    passes.common.ClearMetadataAndDocStringPass()(program.model)
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own remarks (deprecations inside torch, torchvision absent) from our user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _metadata(teacher: ModelProto, ours: Mapping[str, str]) -> dict[str, str]:
    kept = {
        entry.key: entry.value
        for entry in teacher.metadata_props
        if entry.key not in _NOT_OURS_TO_KEEP and not entry.key.startswith(OUR_PREFIX)
    }
    return kept | {f"{OUR_PREFIX}{key}": ours[key] for key in sorted(ours)}
