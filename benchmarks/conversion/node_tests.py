"""onnx's own one-operator tests, in the form real classifiers have: every input but one stored as a weight.

A test passes where the converted module gives the values that the test ships. `wrong` is a value that
differs, `unsupported` a refusal at conversion, `raises` an error when run, `other type` right values in
another element type (whole numbers are carried as floats on purpose, so that a gradient passes).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from tables import OUTCOMES, as_text, node_table
from torch import Tensor, nn

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.engine import import_engine

Array = npt.NDArray[Any]

NEWEST = 23
_TYPES = frozenset(
    [
        *(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BOOL),
        *(TensorProto.INT8, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8),
    ]
)
_NOT_IN_CLASSIFIERS = frozenset(
    [
        *("Bernoulli", "BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix", "ImageDecoder"),
        *("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", "NonMaxSuppression", "RoiAlign"),
        *("TfIdfVectorizer", "If", "Loop", "Scan"),
    ]
)
"""Random numbers, signal windows (always constant), files, losses, detection, text, control flow."""

_EXTRA_OUTPUTS = frozenset(["Dropout", "MaxPool", "LayerNormalization", "BatchNormalization"])
"""Their later outputs are for training; exported classifiers do not have them."""


@dataclass(frozen=True)
class NodeTest:
    """One test: a model of one node with one input, and what it gives.

    Attributes:
        name: As onnx calls the test.
        op_type: The operator.
        version: Since-version of the operator under the imports of the test.
        model: The frozen model with one output.
        x: The input.
        wanted: The output.
    """

    name: str
    op_type: str
    version: int
    model: ModelProto
    x: Array
    wanted: Array


def node_tests(newest: int = NEWEST) -> Iterator[NodeTest]:
    """All tests that count; a test of several outputs gives one entry for each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")
    for case in cases:
        model = case.model
        if model is not None and _counts(model, newest):
            for inputs, outputs in case.data_sets or ():
                yield from _frozen(case.name, model, _arrays(inputs), _arrays(outputs))


def _arrays(given: Sequence[Any]) -> list[Array]:
    return [numpy_helper.to_array(v) if isinstance(v, TensorProto) else np.asarray(v) for v in given]


def _counts(model: ModelProto, newest: int) -> bool:
    if len(model.graph.node) != 1 or model.graph.node[0].domain or not model.graph.input:
        return False
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    values = (*model.graph.input, *model.graph.output)
    return (
        bool(versions)
        and versions[0] <= newest
        and model.graph.node[0].op_type not in _NOT_IN_CLASSIFIERS
        and all(v.type.HasField("tensor_type") and v.type.tensor_type.elem_type in _TYPES for v in values)
    )


def _frozen(name: str, model: ModelProto, inputs: list[Array], outputs: list[Array]) -> Iterator[NodeTest]:
    node = model.graph.node[0]
    data = next((i for i, x in enumerate(inputs) if x.dtype.kind == "f"), 0)
    count = 1 if node.op_type in _EXTRA_OUTPUTS else len(outputs)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    version = onnx.defs.get_schema(node.op_type, max_inclusive_version=opset).since_version
    for index in range(count):
        frozen = ModelProto()
        frozen.CopyFrom(model)
        fed = model.graph.input[data]
        stored = [
            numpy_helper.from_array(x, v.name)
            for i, (v, x) in enumerate(zip(model.graph.input, inputs, strict=True))
            if i != data
        ]
        del frozen.graph.input[:], frozen.graph.output[:]
        frozen.graph.input.append(fed)
        frozen.graph.output.append(model.graph.output[index])
        frozen.graph.initializer.extend(stored)
        if node.op_type in _EXTRA_OUTPUTS:
            del frozen.graph.node[0].output[1:]
        frozen.ir_version = max(frozen.ir_version, 4)
        suffix = f"[{index}]" if count > 1 else ""
        yield NodeTest(name + suffix, node.op_type, version, frozen, inputs[data], outputs[index])


def run(test: NodeTest) -> tuple[str, str]:
    """Outcome of one test and, where it is not `pass`, what happened."""
    try:
        module = convert_graph(test.model).eval()
    except UnsupportedTeacherError as error:
        return "unsupported", str(error)
    return _run_module(module, test)


def _run_module(module: nn.Module, test: NodeTest) -> tuple[str, str]:
    try:
        with torch.no_grad():
            found = module(torch.from_numpy(np.array(test.x)))
        values = np.asarray(found.numpy() if isinstance(found, Tensor) else found)
    except Exception as error:
        return "raises", f"{type(error).__name__}: {error}"
    return _compare(values, test.wanted)


def _compare(found: Array, wanted: Array) -> tuple[str, str]:
    if found.shape != wanted.shape:
        return "wrong", f"shape {found.shape} for {wanted.shape}"
    half = wanted.dtype == np.float16
    close = np.allclose(
        found.astype(np.float64), wanted.astype(np.float64), rtol=1e-2 if half else 1e-3,
        atol=1e-3 if half else 1e-5, equal_nan=True,
    )  # fmt: skip
    if not close:
        with np.errstate(invalid="ignore"):
            return "wrong", f"differs by {np.nanmax(np.abs(found.astype(float) - wanted.astype(float))):.3g}"
    if found.dtype != wanted.dtype:
        return "other type", f"{found.dtype} for {wanted.dtype}"
    return "pass", ""


def run_alone(test: NodeTest) -> str:
    """Outcome of the same test by onnx2torch without anything of ours."""
    model = ModelProto()
    model.CopyFrom(test.model)
    try:
        module = import_engine().convert(model).eval()
    except Exception:
        return "unsupported"
    return _run_module(module, test)[0]


def count(only: frozenset[str] = frozenset()) -> list[dict[str, str | int]]:
    """Outcomes by operator and version, ours and onnx2torch's alone; prints what does not plainly pass.

    Args:
        only: Operators to run, all of them where it is empty.
    """
    counts: dict[tuple[str, int], Counter[str]] = {}
    for test in node_tests():
        if only and test.op_type not in only:
            continue
        outcome, text = run(test)
        these = counts.setdefault((test.op_type, test.version), Counter())
        these.update([outcome, f"onnx2torch {run_alone(test)}"])
        if outcome != "pass":
            print(f"{outcome:12} {test.op_type}-{test.version} {test.name}: {text[:220]}")
    keys = [*OUTCOMES, *(f"onnx2torch {outcome}" for outcome in OUTCOMES)]
    return [
        {"operator": name, "version": version, **{key: counts[name, version][key] for key in keys}}
        for name, version in sorted(counts)
    ]


if __name__ == "__main__":
    import sys

    warnings.simplefilter("ignore")
    print(
        as_text(node_table([{k: str(v) for k, v in row.items()} for row in count(frozenset(sys.argv[1:]))]))
    )
