"""From a teacher as it arrives to a plain graph that a converter can read, in small named steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from cake_onnx.errors import RunFailedError, UnsupportedTeacherError
from cake_onnx.graph.batch import batch_axis, fix_batch, free_batch, mixes_samples, symbolic_batch
from cake_onnx.graph.classifiers import name_sigmoids, spell_out_classifiers
from cake_onnx.graph.cut import Cut, choose_relation, choose_tensor, take_body, take_tail
from cake_onnx.graph.ending import find_ending
from cake_onnx.graph.fold import compute_ahead
from cake_onnx.graph.functions import expand_functions
from cake_onnx.graph.inspect import is_quantised
from cake_onnx.graph.label_outputs import follow_scores
from cake_onnx.graph.normalise import name_nodes, normalise
from cake_onnx.graph.passage import refuse_without_passage
from cake_onnx.graph.refuse import refuse_selection, refuse_without_gradient
from cake_onnx.graph.runtime import Array, draw_inputs, open_session, scores
from cake_onnx.graph.shapes import drop_dead_nodes, infer_shapes
from cake_onnx.graph.specs import InputSpec, OutputSpec
from cake_onnx.graph.tensors import opset_of
from cake_onnx.graph.unroll import unroll
from cake_onnx.graph.upgrade import is_old, upgrades
from cake_onnx.graph.wiring import Wiring

_SAMPLES = 3


@dataclass(frozen=True)
class Prepared:
    """A teacher ready for conversion.

    Attributes:
        body: Graph from the data input to the raw score tensor: one input, one output, constants folded.
        tail: Graph from that tensor to all outputs of the teacher, for the student to end in.
        cut: The tensor between them and what it means.
        fixed_batch: Batch the body is tied to, None where any batch goes through.
        quantised: The graph computes with rounded integers.
        freed: The file itself is tied to a batch, the body is not.
        notes: What was changed that a person should know, in words.
    """

    body: ModelProto
    tail: ModelProto
    cut: Cut
    fixed_batch: int | None
    quantised: bool
    freed: bool = False
    notes: tuple[str, ...] = ()


def prepare(model: ModelProto, input: InputSpec, output: OutputSpec) -> Prepared:
    """Prepare a teacher for conversion and for grafting its tail on a student.

    Args:
        model: The teacher with all its weights; it is not changed.
        input: Its data input.
        output: Its score output.

    Raises:
        UnsupportedTeacherError: The graph cannot be cut into a body and a tail, or rests on trees, support
            vectors or neighbours.
    """
    plain = name_sigmoids(spell_out_classifiers(normalise(model)))
    refuse_without_gradient(plain)
    said = _say(model, input, output)
    plain, notes = _upgrade(plain, input, output, said)
    freed, fixed = _free(plain, input, output, said)
    whole, left_out = follow_scores(_declaring(_simplify(freed), freed), model, input, output)
    simple = infer_shapes(drop_dead_nodes(whole))
    wiring = Wiring(simple.graph)
    ending = find_ending(wiring, output.scores)
    try:
        tensor = choose_tensor(wiring, ending)
    except UnsupportedTeacherError:
        # Neighbours and other searches show up as labels from elsewhere; their operator says more.
        refuse_selection(plain)
        raise
    body = take_body(simple, tensor)
    _refuse_constant_body(body, output)
    if np.dtype(input.dtype).kind == "f":
        # Whole numbers may be indices into an embedding on purpose.
        refuse_without_passage(body)
    sums_to_one = bool(np.allclose(said.sum(axis=1), 1.0, atol=1e-3))
    relation = choose_relation(ending, output, _columns(body, input, fixed), sums_to_one=sums_to_one)
    tail = take_tail(simple, tensor)
    tail = _declaring(tail, whole)
    if fixed is not None:
        # Only the body is tied to its batch; a student behind the tail takes any.
        tail = free_batch(tail)
    was_tied = fixed is None and isinstance(batch_axis(plain), int)
    return Prepared(
        body, tail, Cut(tensor, relation), fixed, is_quantised(plain), was_tied, (*notes, *left_out)
    )


def _simplify(model: ModelProto) -> ModelProto:
    """Everything computed that can be, everything written out that must be, everything unread dropped."""
    simple = compute_ahead(model)
    # Steps of a loop, and bodies of functions, hold constants of their own.
    unrolled = unroll(simple)
    if unrolled is not simple:
        simple = compute_ahead(name_nodes(unrolled))
    expanded = expand_functions(simple)
    return simple if expanded is simple else compute_ahead(name_nodes(expanded))


def _declaring(model: ModelProto, other: ModelProto) -> ModelProto:
    """The model with the outputs as the other declares them; inference writes symbols of its own there."""
    del model.graph.output[:]
    model.graph.output.extend(other.graph.output)
    return model


def _upgrade(
    plain: ModelProto, input: InputSpec, output: OutputSpec, wanted: Array
) -> tuple[ModelProto, tuple[str, ...]]:
    """An old graph in a newer opset, if onnx can rewrite it and it says the same; a note if so."""
    if not is_old(plain):
        return plain, ()
    x = draw_inputs(input, _SAMPLES, seed=1)
    for upgraded in upgrades(plain):
        if _gives(upgraded, input, output, x, wanted, loose=is_quantised(plain)):
            note = f"brought from opset {opset_of(plain)} to opset {opset_of(upgraded)}"
            return normalise(upgraded), (note,)
    return plain, ()


def _say(model: ModelProto, input: InputSpec, output: OutputSpec) -> Array:
    """Scores `(3, K)` that the original model gives to three random samples, one by one."""
    session = open_session(model.SerializeToString(), threads=1)
    x = draw_inputs(input, _SAMPLES, seed=1)
    return np.concatenate([scores(session, input, output, x[i : i + 1]) for i in range(_SAMPLES)])


def _free(
    plain: ModelProto, input: InputSpec, output: OutputSpec, wanted: Array
) -> tuple[ModelProto, int | None]:
    """The first variant that gives at batch 3 what the original gave one by one, else the graph as it is.

    A graph of one sample is returned with its batch written as 1.
    """
    declared = batch_axis(plain)
    if mixes_samples(plain):
        tied = isinstance(declared, int) and declared > 1
        single = fix_batch(free_batch(plain) if tied else plain, input.shape)
        if not tied or _gives(
            single, input, output, draw_inputs(input, _SAMPLES, seed=1), wanted, loose=True
        ):
            return single, 1
    x = draw_inputs(input, _SAMPLES, seed=1)
    loose = is_quantised(plain)
    variants = [symbolic_batch(plain)] if not isinstance(declared, int) else []
    for variant in (*variants, free_batch(plain)):
        if _gives(variant, input, output, x, wanted, loose=loose):
            return variant, None
    return (plain, declared) if isinstance(declared, int) else (fix_batch(plain, input.shape), 1)


def _gives(
    variant: ModelProto, input: InputSpec, output: OutputSpec, x: Array, wanted: Array, *, loose: bool
) -> bool:
    try:
        session = open_session(variant.SerializeToString(), threads=1)
        found = scores(session, input, output, x)
    except (UnsupportedTeacherError, RunFailedError, ValueError):
        return False
    # Rounding of integers may flip with the batch size; a wrong batch axis differs by far more than this.
    allowed = (0.1 if loose else 1e-3) * max(1.0, float(np.abs(wanted).max()))
    return found.shape == wanted.shape and float(np.abs(found - wanted).max()) <= allowed


def _refuse_constant_body(body: ModelProto, output: OutputSpec) -> None:
    wiring = Wiring(body.graph)
    if body.graph.input[0].name not in wiring.ancestors([body.graph.output[0].name]):
        raise UnsupportedTeacherError(
            f"scores '{output.scores}' that depend on the input", "constant scores", "export the model again"
        )


def _columns(body: ModelProto, input: InputSpec, fixed: int | None) -> int:
    """Raw scores of one sample, as declared or else as onnxruntime gives them."""
    raw = body.graph.output[0].name
    dims = Wiring(body.graph).dims(raw)
    sizes = [size for size in (dims or [])[1:] if isinstance(size, int)]
    # One axis of known size holds the scores of a single sample; one of unknown size is the batch.
    if dims and len(sizes) == len(dims) - 1 and (len(dims) > 1 or not isinstance(dims[0], int)):
        return math.prod(sizes)
    session = open_session(body.SerializeToString(), threads=1)
    described = OutputSpec(raw, None, "logits", 1, None)
    return int(scores(session, input, described, draw_inputs(input, fixed or 2, seed=0)).shape[1])
