"""Every tensor inside a prepared body, by onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, helper

from cake_onnx.errors import RunFailedError, UnsupportedTeacherError
from cake_onnx.graph.runtime import Array, as_declared, open_session, run_all
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.tensors import copy_model

Values = dict[str, npt.NDArray[Any]]


def inner_values(body: ModelProto, input: InputSpec, x: Array) -> Values:
    """All tensors that nodes of the body make of `x`, `(B, *shape)`, by name; sequences are left out.

    Raises:
        UnsupportedTeacherError: onnxruntime does not run the body so.
    """
    names = [name for node in body.graph.node for name in node.output if name]
    exposed = copy_model(body)
    del exposed.graph.output[:]
    exposed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    try:
        session = open_session(exposed.SerializeToString(), threads=1)
        found = run_all(session, names, {body.graph.input[0].name: as_declared(x, input)})
    except RunFailedError as error:
        raise UnsupportedTeacherError(
            "a model whose inner tensors onnxruntime shows", error.found, "report this model"
        ) from error
    return {name: value for name, value in zip(names, found, strict=True) if isinstance(value, np.ndarray)}
