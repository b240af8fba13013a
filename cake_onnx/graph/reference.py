"""What judges a conversion: onnxruntime on the file as found, or on its nearest kin that it can run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, TensorProto

from cake_onnx.errors import RunFailedError, UnsupportedTeacherError
from cake_onnx.graph.batch import batch_axis, free_batch
from cake_onnx.graph.float32 import as_float32
from cake_onnx.graph.framing import batch_in_front, batch_second
from cake_onnx.graph.load import LoadedModel
from cake_onnx.graph.normalise import normalise
from cake_onnx.graph.refuse import refuse_unknown
from cake_onnx.graph.runtime import open_session, run_all
from cake_onnx.graph.sums import remark_on_sums
from cake_onnx.graph.tensors import all_tensors, opset_of
from cake_onnx.graph.trim import trim_to_classifier
from cake_onnx.graph.upgrade import is_old, upgrades
from cake_onnx.graph.wiring import dims_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_LARGE_BATCH = 16
"""Above this, a file tied to its batch is judged on a freed copy: one sample would cost a whole batch."""
_TOLERANCE = 1e-4
_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class Reference:
    """The model that onnxruntime runs in the name of a file.

    Attributes:
        model: With all its weights; the file's own wherever onnxruntime runs that.
        session: onnxruntime on `model`.
        changes: What sets it apart from the file, in words; empty where nothing does.
    """

    model: ModelProto
    session: InferenceSession
    changes: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """How `session` runs it, where that is not how an application would, in words without a subject."""
        return remark_on_sums(self.model)

    def runnable(self, file: LoadedModel) -> bytes:
        """What `session` runs, as one message: the file itself where nothing was changed."""
        return bytes(self.model.SerializeToString()) if self.changes else file.runnable


def open_reference(file: LoadedModel) -> Reference:
    """Open a file in onnxruntime, or a variant of it that says the same.

    Raises:
        UnsupportedTeacherError: onnxruntime refuses the file, and there is no variant that it runs.
    """
    reference = _trimmed(_open_or_mend(file))
    if batch_second(reference.model):
        model = batch_in_front(reference.model)
        session = open_session(model.SerializeToString())
        changes = (*reference.changes, "axes 0 and 1 of the input exchanged: the batch is in front")
        reference = Reference(model, session, changes)
    return _without_large_batch(reference)


def _open_or_mend(file: LoadedModel) -> Reference:
    if any(value.type.tensor_type.elem_type == TensorProto.BFLOAT16 for value in file.model.graph.input):
        # onnxruntime may well run it, but numpy has no such numbers to feed.
        model = as_float32(normalise(file.model))
        change = "computed in float32 instead of bfloat16"
        return Reference(model, open_session(model.SerializeToString()), (change,))
    try:
        return Reference(file.model, open_session(file.runnable))
    except UnsupportedTeacherError as refusal:
        for model, change in _variants(file.model):
            try:
                return Reference(model, open_session(model.SerializeToString()), (change,))
            except UnsupportedTeacherError:
                continue
        refuse_unknown(file.model)
        raise refusal from None


def _trimmed(reference: Reference) -> Reference:
    """The reference without inputs that its scores do not need, and with scores that it hides."""
    model, changes = trim_to_classifier(reference.model)
    if not changes:
        return reference
    return Reference(model, open_session(model.SerializeToString()), (*reference.changes, *changes))


def _variants(model: ModelProto) -> Iterator[tuple[ModelProto, str]]:
    """What to try where onnxruntime refuses a file, and what was done to it."""
    reason = "which onnxruntime cannot run"
    if is_old(model):
        for upgraded in upgrades(model):
            yield upgraded, f"brought from opset {opset_of(model)}, {reason}, to opset {opset_of(upgraded)}"
    if any(tensor.data_type in _HALVES for tensor in all_tensors(model)):
        yield as_float32(normalise(model)), f"computed in float32 instead of half precision, {reason}"


def _without_large_batch(reference: Reference) -> Reference:
    """The reference without its literal batch, if that is large and what it says stays the same."""
    plain = normalise(reference.model)
    if len(plain.graph.input) != 1:
        return reference
    size = batch_axis(plain)
    sample = dims_of(plain.graph.input[0]) or []
    if not isinstance(size, int) or size <= _LARGE_BATCH or not all(isinstance(n, int) for n in sample):
        return reference
    freed = free_batch(plain)
    try:
        session = open_session(freed.SerializeToString())
        if not _agree(reference.session, session, [int(n) for n in sample if isinstance(n, int)]):
            return reference
    except (UnsupportedTeacherError, RunFailedError):
        return reference
    change = f"freed from its batch of {size:,}, after both said the same on one such batch"
    return Reference(freed, session, (*reference.changes, change))


def _agree(tied: InferenceSession, free: InferenceSession, dims: list[int]) -> bool:
    """Whether the first float output is the same for a whole batch and for two of its samples alone."""
    entry = tied.get_inputs()[0]
    names = [
        output.name for output in tied.get_outputs() if "float" in output.type and "map" not in output.type
    ]
    if "float" not in entry.type or not names:
        return False
    dtype = np.float16 if "float16" in entry.type else np.float64 if "double" in entry.type else np.float32
    x = np.random.default_rng(0).uniform(0, 1, dims).astype(dtype)
    whole = np.asarray(run_all(tied, names[:1], {entry.name: x})[0])
    for row in (0, dims[0] - 1):
        alone = np.asarray(run_all(free, names[:1], {entry.name: x[row : row + 1]})[0])
        if alone.shape[1:] != whole.shape[1:] or len(whole) != len(x):
            return False
        if not np.abs(alone[0] - whole[row]).max() <= _TOLERANCE * max(1.0, float(np.abs(whole[row]).max())):
            return False
    return True
