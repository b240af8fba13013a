"""What the first nodes of a graph say about the scale of its input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto

from cake_onnx.graph.inputs import DataInput
from cake_onnx.graph.specs import Bounds, bounds_shapes
from cake_onnx.graph.wiring import Wiring, attribute

Numbers = npt.NDArray[np.float64]

_SPREAD = 3.0
"""Standard deviations on either side of the mean that the range of a standardised feature covers."""

_MOVING = frozenset(["Cast", "Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"])
"""Operators that leave every value as it is."""

_BYTE = 255.0
_LEVELS = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}


@dataclass(frozen=True)
class _Standardised:
    """The graph works on `(x - mean) / deviation`, one number for all values or one for each channel."""

    mean: Numbers
    deviation: Numbers


def told_by_graph(model: ModelProto, data_input: DataInput) -> Bounds | None:
    """The range that a scaler, a quantiser or a normalisation right behind the input gives away, or None.

    Args:
        model: A normalised model.
        data_input: Its data input.
    """
    wiring = Wiring(model.graph)
    node = _next(wiring, data_input.name)
    if node is None:
        return None
    if node.op_type == "Scaler":
        return _of_scaler(node, data_input)
    if node.op_type == "QuantizeLinear":
        return _of_quantiser(node, wiring)
    found = _standardisation(node, wiring)
    return None if found is None else _of_standardisation(found, data_input)


def _next(wiring: Wiring, name: str) -> NodeProto | None:
    """The one node that works on a tensor, those looked through that only move it."""
    readers = wiring.readers.get(name, [])
    while len(readers) == 1 and readers[0].op_type in _MOVING:
        readers = wiring.readers.get(readers[0].output[0], [])
    return readers[0] if len(readers) == 1 else None


def _of_scaler(node: NodeProto, data_input: DataInput) -> Bounds | None:
    """Of a standardising `ai.onnx.ml` Scaler: mean ± 3 standard deviations."""
    offset, scale = _floats(attribute(node, "offset", ())), _floats(attribute(node, "scale", ()))
    if data_input.layout != "flat" or len(offset) != len(scale):
        return None
    if len(offset) not in (1, math.prod(data_input.shape)) or not (np.array(scale) > 0).all():
        return None
    return _deviations(np.array(offset), 1 / np.array(scale), "Scaler node")


def _of_quantiser(node: NodeProto, wiring: Wiring) -> Bounds | None:
    """Of a quantised input: what lies beyond its levels is clipped, so calibration saw nothing there."""
    constants = [wiring.constant(name) for name in node.input[1:]]
    if not constants or any(value is None or value.size != 1 for value in constants):
        return None
    scale, *zero = (value for value in constants if value is not None)
    levels = _LEVELS.get(str(zero[0].dtype) if zero else "uint8")
    if levels is None:
        return None
    step, middle = float(scale.reshape(-1)[0]), float(zero[0].reshape(-1)[0]) if zero else 0.0
    low, high = ((level - middle) * step for level in levels)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return None
    return Bounds((low,), (high,), "quantisation of the input", assumed=False)


def _standardisation(node: NodeProto | None, wiring: Wiring) -> _Standardised | None:
    """The affine function that the graph begins with, as a mean and a deviation; None where there is none."""
    slope, shift, steps = np.ones(1), np.zeros(1), 0
    while node is not None:
        step = _affine(node, wiring)
        if step is None:
            break
        # Per-channel numbers lie along one axis; every one of these broadcasts against the others.
        try:
            slope, shift = slope * step[0], shift * step[0] + step[1]
        except ValueError:
            return None
        steps += 1
        # What follows statistics of a batch was learnt, and says nothing of the input.
        node = None if node.op_type == "BatchNormalization" else _next(wiring, node.output[0])
    if not steps or not (np.isfinite(slope).all() and np.isfinite(shift).all() and (slope > 0).all()):
        return None
    return _Standardised(-shift / slope, np.broadcast_to(1 / slope, np.broadcast(slope, shift).shape))


def _affine(node: NodeProto, wiring: Wiring) -> tuple[Numbers, Numbers] | None:
    """Factor and summand of a node that scales and shifts its input, by constants or batch statistics."""
    if node.op_type == "BatchNormalization":
        mean, variance = (wiring.constant(name) for name in node.input[3:5])
        if mean is None or variance is None:
            return None
        slope = 1 / np.sqrt(np.asarray(variance, np.float64) + 1e-12)
        return slope, -slope * np.asarray(mean, np.float64)
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    left, right = (wiring.constant(name) for name in node.input)
    if (left is None) == (right is None):
        return None
    constant = right if right is not None else left
    value = np.asarray(constant, np.float64).reshape(-1)
    match node.op_type, right is not None:
        case "Add", _:
            return np.ones(1), value
        case "Mul", _:
            return value, np.zeros(1)
        case "Sub", True:
            return np.ones(1), -value
        case "Div", True if (value != 0).all():
            return 1 / value, np.zeros(1)
    return None


def _of_standardisation(found: _Standardised, data_input: DataInput) -> Bounds | None:
    """Of pixels: 0 to 1 or 0 to 255, by the numbers that are subtracted and divided by."""
    mean, deviation = found.mean, found.deviation
    if data_input.layout == "flat":
        shape, numbers = data_input.shape, len(mean)
        told = numbers in bounds_shapes(shape, "flat") and shape.count(numbers) < 2  # of two alike: which?
        return _deviations(mean, deviation, "normalisation in the graph") if told and numbers > 1 else None
    scaled = np.abs(mean).max() == 0
    top = float(deviation.max()) if scaled else float((mean + 2 * deviation).max())
    for high, least, most in ((1.0, 0.4, 2.0), (_BYTE, 0.4 * _BYTE, 2 * _BYTE)):
        if scaled and not math.isclose(top, high, rel_tol=0.01):
            continue  # a mere factor tells only where it takes the largest value to 1
        if least <= top <= most and (mean >= 0).all() and (scaled or high > 1 or deviation.max() < 1):
            return Bounds((0.0,), (high,), "normalisation in the graph", assumed=False)
    return None


def _deviations(mean: Numbers, deviation: Numbers, source: str) -> Bounds | None:
    low, high = mean - _SPREAD * deviation, mean + _SPREAD * deviation
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        return None
    told = f"{source}, mean ± {_SPREAD:g} standard deviations"
    return Bounds(tuple(low.tolist()), tuple(high.tolist()), told, assumed=False)


def _floats(value: object) -> list[float]:
    return [float(item) for item in value] if isinstance(value, Sequence) else []
