"""A float model turned into one that computes with 8-bit integers, by onnxruntime's own quantiser."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
from onnx import ModelProto

from cake_onnx.errors import RunFailedError, UsageError, first_line
from cake_onnx.graph.runtime import Array, as_declared
from cake_onnx.graph.shapes import drop_dead_nodes
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.tensors import copy_model, rename_tensors
from cake_onnx.graph.wiring import Wiring, groups_of

OPSET = 13
"""The least that a model to be quantised has: weights have one scale a channel since then."""
_LAYERS = ("Conv", "Gemm", "MatMul")
_BETWEEN = (
    "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Pad", "Relu",
    "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""What 8 bits pass through without much loss; everything else stays in float32."""
_FEWEST = 8
"""Channels that a convolution reads; onnxruntime's integer kernels take up to twice as long for fewer."""
_AT_ONCE = 50


def quantise(data: bytes, x: Array, input: InputSpec) -> bytes:
    """Quantise weights to 7 bits, one scale a channel, and activations to 8, one zero point a tensor.

    Activations are unsigned and weights leave out a bit, so that sums of products are exact on x86
    processors without VNNI too. Ranges are the extremes on `x`. What the last layer gives stays in float32:
    there 8 bits would make probabilities coarse and classes tie. So do convolutions that read fewer than
    eight channels, which are faster there.

    Args:
        data: A serialised model of opset `OPSET` or newer, of any batch.
        x: Samples `(B, *shape)` in its input units.
        input: Its data input.

    Returns:
        A serialised model with the same inputs, outputs and metadata. The same arguments give the same bytes.

    Raises:
        UsageError: It has no layer that onnxruntime quantises.
        RunFailedError: onnxruntime's quantiser failed, or gave no valid model.
    """
    model = onnx.load_from_string(data)
    result = _in_few_letters(_scores_in_float(_quantised(_with_flat_biases(model), x, input)), model)
    if not _has_integer_layers(result):
        raise UsageError(
            f"a student with layers that are quantised: Gemm, MatMul, or Conv of {_FEWEST} channels and more",
            "none",
            "leave --quantize out",
        )
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    # The quantiser leaves marks, and names for sizes that had none.
    del result.metadata_props[:], result.graph.output[:]
    result.metadata_props.extend(model.metadata_props)
    result.graph.output.extend(model.graph.output)
    try:
        onnx.checker.check_model(result, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _failed(error) from error
    return bytes(result.SerializeToString(deterministic=True))


def _has_integer_layers(model: ModelProto) -> bool:
    wiring = Wiring(model.graph)
    makers = [
        wiring.maker.get(name) for node in model.graph.node if node.op_type in _LAYERS for name in node.input
    ]
    return any(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)


def _with_flat_biases(model: ModelProto) -> ModelProto:
    """The model with biases of Gemm as rows, since the quantiser stumbles over tables of one row."""
    result, readers = copy_model(model), Wiring(model.graph).readers
    for tensor in result.graph.initializer:
        biases = [
            node.op_type == "Gemm" and list(node.input).index(tensor.name) == 2
            for node in readers.get(tensor.name, ())
        ]
        if biases and all(biases) and len(tensor.dims) == 2 and tensor.dims[0] == 1:
            del tensor.dims[0]
    return result


def _quantised(model: ModelProto, x: Array, input: InputSpec) -> ModelProto:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Samples(CalibrationDataReader):  # type: ignore[misc]
        """All of them, in batches."""

        def __init__(self) -> None:
            self._batches = _batches(x, input)

        def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
            return next(self._batches, None)

    with tempfile.TemporaryDirectory(prefix="cake-onnx-") as folder, _quiet():
        path = Path(folder) / "quantised.onnx"
        try:
            quantize_static(
                model,
                path,
                Samples(),
                op_types_to_quantize=[*_LAYERS, *_BETWEEN],
                nodes_to_exclude=_narrow_convolutions(model),
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:  # onnxruntime's own classes share no public base
            raise _failed(error) from error
        return onnx.load(path)


def _narrow_convolutions(model: ModelProto) -> list[str]:
    """Names of the convolutions that stay in float32, which hold few weights."""
    wiring = Wiring(model.graph)
    found = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in wiring.stored]
    return [
        node.name
        for node in found
        if node.name and wiring.stored[node.input[1]].dims[1] * groups_of(node) < _FEWEST
    ]


def _batches(x: Array, input: InputSpec) -> Iterator[dict[str, npt.NDArray[Any]]]:
    for start in range(0, len(x), _AT_ONCE):
        yield {input.name: as_declared(x[start : start + _AT_ONCE], input)}


def _scores_in_float(model: ModelProto) -> ModelProto:
    """The model without the roundings behind its last layer; a convolution keeps its own, to stay integer."""
    wiring = Wiring(model.graph)
    layers = [node for node in model.graph.node if node.op_type in _LAYERS]
    read = wiring.ancestors(name for node in layers for name in node.input)
    shown = {value.name for value in model.graph.output}
    names: dict[str, str] = {}
    left_out: set[str] = set()
    for node in model.graph.node:
        if (
            node.op_type == "QuantizeLinear"
            and node.output[0] not in read
            and _may_stay(wiring, node.input[0])
        ):
            pairs = [pair.output[0] for pair in wiring.readers.get(node.output[0], ())]
            kept = next((name for name in pairs if name in shown), node.input[0])
            names |= dict.fromkeys([node.input[0], *pairs], kept)
            left_out.update(node.output, pairs)
    result = copy_model(model)
    del result.graph.node[:], result.graph.value_info[:]
    result.graph.node.extend(node for node in model.graph.node if left_out.isdisjoint(node.output))
    rename_tensors(result, names)
    return drop_dead_nodes(result)


def _in_few_letters(model: ModelProto, before: ModelProto) -> ModelProto:
    """The model with short names for what quantising added: they were half of a small file."""
    known = {name for node in before.graph.node for name in (*node.input, *node.output)}
    named = {node.name for node in before.graph.node}
    added = dict.fromkeys(name for node in model.graph.node for name in (*node.input, *node.output))
    free = (name for i in count() if (name := f"q{i}") not in known)
    names = dict(zip((name for name in added if name not in known), free, strict=False))
    result = copy_model(model)
    rename_tensors(result, names)
    for node in result.graph.node:
        if node.name not in named:
            node.ClearField("name")
    return result


def _may_stay(wiring: Wiring, name: str) -> bool:
    """Whether a tensor need not be rounded: integer convolutions give integers alone."""
    maker = wiring.maker.get(name)
    return maker is not None and maker.op_type != "Conv"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice to itself; it goes to the root logger, and what it asks for is done."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _failed(error: Exception) -> RunFailedError:
    return RunFailedError(
        "a student that onnxruntime quantises",
        first_line(error),
        "leave --quantize out, and report this student",
    )
