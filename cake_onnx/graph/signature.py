"""Read the signature of a classifier: what goes in, what comes out, what had to be assumed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from cake_onnx.errors import RunFailedError, UnsupportedTeacherError
from cake_onnx.graph.bounds import choose_bounds
from cake_onnx.graph.inputs import find_data_input
from cake_onnx.graph.normalise import normalise
from cake_onnx.graph.outputs import choose_scores, describe_output
from cake_onnx.graph.runtime import draw_inputs, open_session, scores
from cake_onnx.graph.shapes import refuse_huge_tensors
from cake_onnx.graph.specs import InputSpec, OutputSpec
from cake_onnx.graph.tensors import refuse_nan_weights

_PROBES = 8


def read_signature(
    model: ModelProto,
    *,
    input_range: tuple[float, float] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[InputSpec, OutputSpec]:
    """Describe the data input and the score output of a classifier.

    The output is also asked of onnxruntime on a few random inputs, because declared shapes can be missing or
    wrong and because a softmax can be written in many ways.

    Args:
        model: The teacher with all its weights.
        input_range: Lowest and highest input value, in the teacher's own units.
        mean: Subtracted outside the graph from values in `[0, 1]`, one number or one a channel or feature.
        std: Divided by outside the graph.

    Raises:
        UnsupportedTeacherError: The model is not a classifier with one data input.
        UsageError: The range given is none, or onnxruntime is not installed.
    """
    plain = normalise(model)
    found = find_data_input(plain.graph, plain.opset_import)
    bounds = choose_bounds(plain, found, input_range, mean, std)
    described = InputSpec(found.name, found.shape, found.dtype, found.layout, bounds)
    score_name, label_name = choose_scores(plain)
    refuse_nan_weights(plain)
    refuse_huge_tensors(plain)
    probe = _probe(model, described, score_name)
    return described, describe_output(plain, score_name, label_name, probe)


def _probe(model: ModelProto, input: InputSpec, score_name: str) -> npt.NDArray[np.float32]:
    """`(B, C)` scores on random input, C being 1 where the model gives a single number."""
    session = open_session(model.SerializeToString(), threads=1)
    # One class keeps a single column single; names are not known yet.
    raw = OutputSpec(score_name, None, "logits", 1, None)
    try:
        return scores(session, input, raw, draw_inputs(input, _PROBES, seed=0))
    except RunFailedError as error:
        raise UnsupportedTeacherError(
            error.expected, error.found, "export the model with the batch as first axis of input and output"
        ) from error
