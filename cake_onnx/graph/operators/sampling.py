"""Images sampled at computed places: GridSample, AffineGrid."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.dimensions import bind_integers
from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator

# Version 16 called the modes after images, later versions after their mathematics.
_MODES = {
    "linear": "bilinear",
    "bilinear": "bilinear",
    "nearest": "nearest",
    "cubic": "bicubic",
    "bicubic": "bicubic",
}
_PADDING = ("zeros", "border", "reflection")


@operator("GridSample", since=(16, 20, 22))
def grid_sample(node: Node) -> Bound:
    """ONNX GridSample-22 of images `(B, C, H, W)` or volumes `(B, C, D, H, W)`."""
    mode, padding = node.attribute("mode", "linear"), node.attribute("padding_mode", "zeros")
    if mode not in _MODES or padding not in _PADDING:
        raise DeclinedError(f"GridSample with mode={mode} and padding_mode={padding}")
    rank = len(node.dims(0) or [])
    if rank > 4 and _MODES[mode] == "bicubic":
        raise DeclinedError(f"cubic GridSample of {rank} axes")
    options = {"mode": _MODES[mode], "padding_mode": padding}
    aligned = bool(node.attribute("align_corners", 0))
    return node.bind(Apply(functional.grid_sample, align_corners=aligned, **options), 0, 1)


@operator("AffineGrid", since=(20,))
def affine_grid(node: Node) -> Bound:
    """ONNX AffineGrid-20: sampling places `(B, *sizes, n)` of affine maps `(B, n, n + 1)`."""
    aligned = bool(node.attribute("align_corners", 0))
    return bind_integers(node, _affine_grid, (0,), {"size": 1}, aligned=aligned)


def _affine_grid(theta: Tensor, size: list[int], aligned: bool) -> Tensor:
    return functional.affine_grid(theta, size, align_corners=aligned)
