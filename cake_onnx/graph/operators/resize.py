"""Resize and Upsample: axis by axis, with weights that are exact for every option."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from cake_onnx.graph.operators.dimensions import bind_numbers
from cake_onnx.graph.operators.interpolation import (
    COORDINATES,
    NEAREST,
    Axis,
    Interpolation,
    Places,
    nearest_places,
    outside,
    weights,
)
from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.rounding import straight_through

_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic"}
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_POLICIES = ("stretch", "not_larger", "not_smaller")


@dataclass(frozen=True)
class Target:
    """What happens beside the interpolation.

    Attributes:
        axes: Those that factors, sizes and crop speak of; None for all.
        policy: `keep_aspect_ratio_policy` of ONNX Resize-19.
        extrapolation: Value outside of the input when a crop reaches there.
        whole: The values are integers, cut off after interpolation.
    """

    axes: tuple[int, ...] | None = None
    policy: str = "stretch"
    extrapolation: float = 0.0
    whole: bool = False


@operator("Upsample", since=(1,))
def upsample_1(node: Node) -> Bound:
    """ONNX Upsample-1: factors of height and width are attributes."""
    scales = [1.0, 1.0, node.attribute("height_scale"), node.attribute("width_scale")]
    if None in scales:
        raise DeclinedError("Upsample without its factors")
    return node.bind(Apply(_resize, scales=scales, **_old(node)), 0)


@operator("Upsample", since=(7,))
def upsample_7(node: Node) -> Bound:
    """ONNX Upsample-7: the factors are an attribute."""
    scales = node.attribute("scales")
    if scales is None:
        raise DeclinedError("Upsample without its factors")
    return node.bind(Apply(_resize, scales=scales, **_old(node)), 0)


@operator("Upsample", since=(9, 10))
@operator("Resize", since=(10,))
def resize_10(node: Node) -> Bound:
    """ONNX Resize-10 and Upsample-9: the factors are an input; coordinates are asymmetric."""
    return bind_numbers(node, _resize, (0,), {"scales": 1}, **_old(node))


def _old(node: Node) -> dict[str, Any]:
    """What these versions leave no choice about."""
    how = Interpolation(_mode(node), coordinates="asymmetric", nearest="simple")
    return {"sizes": None, "roi": None, "how": how, "target": Target(whole=_is_whole(node, how))}


@operator("Resize", since=(11, 13, 18, 19))
def resize(node: Node) -> Bound:
    """ONNX Resize-19: all modes, coordinates, crops and policies, antialiased or not."""
    how = Interpolation(
        _mode(node),
        _known(node, "coordinate_transformation_mode", "half_pixel", COORDINATES),
        _known(node, "nearest_mode", "round_prefer_floor", NEAREST),
        node.attribute("cubic_coeff_a", -0.75),
        bool(node.attribute("exclude_outside", 0)),
        bool(node.attribute("antialias", 0)),
    )
    axes = node.attribute("axes")
    target = Target(
        None if axes is None else tuple(axes),
        _known(node, "keep_aspect_ratio_policy", "stretch", _POLICIES),
        node.attribute("extrapolation_value", 0.0),
        _is_whole(node, how),
    )
    _require_clear_corners(node, how, target)
    inputs = {"roi": 1, "scales": 2, "sizes": 3}
    return bind_numbers(node, _resize, (0,), inputs, how=how, target=target)


def _is_whole(node: Node, how: Interpolation) -> bool:
    if how.mode == "nearest" or node.element_type(0) in (0, *_FLOATS):
        return False
    if how.antialias:
        raise DeclinedError(f"{node.op_type} of integers with antialias")
    return True


def _require_clear_corners(node: Node, how: Interpolation, target: Target) -> None:
    """Refuse corners aligned at a size that is not whole: ONNX takes the fraction, onnxruntime does not."""
    scales, dims = node.constant(2), node.dims(0)
    if how.coordinates != "align_corners" or scales is None or dims is None:
        return
    axes = range(len(dims)) if target.axes is None else target.axes
    for axis, scale in zip(axes, scales.tolist(), strict=False):
        size = dims[axis]
        if isinstance(size, int) and abs(size * scale - round(size * scale)) > 1e-3:
            raise DeclinedError(f"{node.op_type} of {size} by {scale:g} with aligned corners")


def _mode(node: Node) -> str:
    return _MODES[_known(node, "mode", "nearest", _MODES)]


def _known(node: Node, attribute: str, default: str, values: Collection[str]) -> str:
    value: str = node.attribute(attribute, default)
    if value not in values:
        raise DeclinedError(f"{node.op_type} with {attribute}={value}")
    return value


def _resize(
    x: Tensor,
    scales: Sequence[float] | None,
    sizes: Sequence[float] | None,
    roi: Sequence[float] | None,
    how: Interpolation,
    target: Target,
) -> Tensor:
    places = range(x.dim()) if target.axes is None else [axis % x.dim() for axis in target.axes]
    before = [x.shape[place] for place in places]
    # An input that is not used may also be given as an empty tensor.
    factors, after = _scaled(before, scales) if scales else _sized(before, sizes or [], target.policy)
    cropped = how.coordinates == "tf_crop_and_resize"
    crops = _crops(roi, len(before)) if cropped else [(0.0, 1.0)] * len(before)
    if before == after:
        # onnxruntime copies here, whatever the factors and the crop are; likewise an axis with the factor 1.
        return x
    axes = {
        place: Axis(size, out, factor, *crop)
        for place, size, out, factor, crop in zip(places, before, after, factors, crops, strict=True)
        if factor != 1.0
    }
    resized = _interpolated(x, axes, how)
    if cropped:
        resized = _extrapolated(resized, axes, how, target.extrapolation)
    return straight_through(resized, _cut_off(resized)) if target.whole else resized


def _cut_off(x: Tensor) -> Tensor:
    # Weights that sum to almost 1 must not make 4 of five neighbours of 5.
    return torch.trunc(x + 1e-4 * torch.sign(x))


def _scaled(before: list[int], scales: Sequence[float]) -> tuple[list[float], list[int]]:
    # In float32, as onnxruntime multiplies: 10 * 0.7 is 7 and not 6.
    return list(scales), [
        int(np.float32(scale) * np.float32(size)) for scale, size in zip(scales, before, strict=True)
    ]


def _sized(before: list[int], sizes: Sequence[float], policy: str) -> tuple[list[float], list[int]]:
    wanted = [int(size) for size in sizes]
    factors = [float(np.float32(out) / np.float32(size)) for out, size in zip(wanted, before, strict=True)]
    if policy == "stretch":
        return factors, wanted
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [factor] * len(before), [
        int(np.floor(np.float32(factor) * np.float32(size) + 0.5)) for size in before
    ]


def _crops(roi: Sequence[float] | None, count: int) -> list[tuple[float, float]]:
    if roi is None or len(roi) != 2 * count:
        raise ValueError(f"a crop for {count} axes instead of {roi}")
    return list(zip(roi[:count], roi[count:], strict=True))


def _interpolated(x: Tensor, axes: dict[int, Axis], how: Interpolation) -> Tensor:
    if how.mode == "nearest":
        return _nearest(x, {place: nearest_places(how, axis) for place, axis in axes.items()})
    x = x if x.is_floating_point() else x.to(torch.float32)
    for place, axis in axes.items():
        matrix = torch.from_numpy(weights(how, axis)).to(x.device, x.dtype)
        x = (x.movedim(place, -1) @ matrix.T).movedim(-1, place)
    return x


def _nearest(x: Tensor, chosen: dict[int, Places]) -> Tensor:
    factors = [1] * x.dim()
    for place, places in chosen.items():
        factor = len(places) // x.shape[place]
        if factor * x.shape[place] == len(places) and (places == np.arange(len(places)) // factor).all():
            factors[place] = factor
        else:
            x = x.index_select(place, torch.from_numpy(places).to(x.device))
    if max(factors, default=1) == 1:
        return x
    # Every element repeated alike: one copy of a broadcast view is much faster than picking by index.
    apart = [part for size in x.shape for part in (size, 1)]
    wide = [part for size, factor in zip(x.shape, factors, strict=True) for part in (size, factor)]
    return x.reshape(apart).expand(wide).reshape([a * b for a, b in zip(x.shape, factors, strict=True)])


def _extrapolated(x: Tensor, axes: dict[int, Axis], how: Interpolation, value: float) -> Tensor:
    for place, axis in axes.items():
        beyond = torch.from_numpy(outside(how, axis)).to(x.device)
        x = torch.where(beyond.reshape(-1, *[1] * (x.dim() - place - 1)), value, x)
    return x
