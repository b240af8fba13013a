"""The range of a classifier's input: told by the user, by the file, or assumed and said so."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnx import ModelProto

from cake_onnx.errors import UsageError
from cake_onnx.graph.inputs import DataInput
from cake_onnx.graph.scaling import told_by_graph
from cake_onnx.graph.specs import Bounds, bounds_shapes

_PIXEL_RANGES: dict[str, tuple[float, float]] = {
    "NominalRange_0_255": (0.0, 255.0),
    "NominalRange_16_235": (16.0, 235.0),
    "Normalized_0_1": (0.0, 1.0),
    "Normalized_1_1": (-1.0, 1.0),
}
"""Values of `Image.NominalPixelRange` (ONNX specification, "Model Metadata for Images")."""

_SPREAD = 3.0
"""Standard deviations on either side of the mean that the range of standardised features covers."""

_OPTIONS = "state it with --input-range or --mean and --std"


def choose_bounds(
    model: ModelProto,
    data_input: DataInput,
    input_range: tuple[float, float] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Bounds:
    """The first of: range given, mean and std given, metadata, first nodes of the graph, type, assumption.

    Args:
        model: A normalised model.
        data_input: Its data input.
        input_range: Lowest and highest value, in the teacher's own input units.
        mean: Subtracted outside the graph from values in `[0, 1]`: one number, or one a channel or feature.
        std: Divided by outside the graph; as many numbers as `mean`.

    Raises:
        UsageError: The numbers given are no range.
    """
    if input_range is not None:
        return _given(input_range)
    if mean is not None or std is not None:
        return _from_mean_and_std(data_input, mean, std)
    told = _from_metadata(model, data_input) or told_by_graph(model, data_input)
    if told is not None:
        return told
    if data_input.dtype == "uint8":
        return Bounds((0.0,), (255.0,), "element type uint8", assumed=False)
    return _assumed(data_input)


def _given(input_range: tuple[float, float]) -> Bounds:
    low, high = (float(value) for value in input_range)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(
            "--input-range LO,HI with LO below HI", f"{low:g},{high:g}", "give two finite numbers"
        )
    return Bounds((low,), (high,), "--input-range", assumed=False)


def _from_mean_and_std(
    data_input: DataInput, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Bounds:
    if mean is None or std is None or len(mean) != len(std):
        found = f"{len(mean or ())} and {len(std or ())} numbers"
        raise UsageError("--mean and --std with as many numbers each", found, "give both")
    fitting = bounds_shapes(data_input.shape, data_input.layout)
    if len(mean) not in fitting:
        counts = " or ".join(["one number", *(str(count) for count in sorted(fitting) if count > 1)])
        raise UsageError(
            f"{counts} for --mean and --std",
            f"{len(mean)}",
            "give one for each channel or feature",
        )
    if not all(math.isfinite(m) and math.isfinite(s) and s > 0 for m, s in zip(mean, std, strict=True)):
        raise UsageError(
            "finite --mean and positive --std", f"{list(mean)} and {list(std)}", "check the numbers"
        )
    low = tuple((0.0 - m) / s for m, s in zip(mean, std, strict=True))
    high = tuple((1.0 - m) / s for m, s in zip(mean, std, strict=True))
    return Bounds(low, high, "--mean and --std, of values in [0, 1]", assumed=False)


def _from_metadata(model: ModelProto, data_input: DataInput) -> Bounds | None:
    entries = list(model.metadata_props)
    for value in model.graph.input:
        if value.name == data_input.name:
            entries += value.metadata_props
    for entry in entries:
        if entry.key == "Image.NominalPixelRange" and entry.value in _PIXEL_RANGES:
            low, high = _PIXEL_RANGES[entry.value]
            return Bounds((low,), (high,), f"metadata of the model, {entry.value}", assumed=False)
    return None


def _assumed(data_input: DataInput) -> Bounds:
    if data_input.dtype.startswith(("int", "uint")):
        return Bounds((0.0,), (255.0,), f"assumed for whole-number pixels; {_OPTIONS}", assumed=True)
    if data_input.layout == "flat":
        text = f"assumed for standardised features; {_OPTIONS}"
        return Bounds((-_SPREAD,), (_SPREAD,), text, assumed=True)
    return Bounds((0.0,), (1.0,), f"assumed for pixels divided by 255; {_OPTIONS}", assumed=True)
