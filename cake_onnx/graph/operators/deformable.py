"""DeformConv: a convolution whose taps are moved by computed offsets."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cake_onnx.graph.operators.operands import bind_operands
from cake_onnx.graph.operators.registry import Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.windows import Window


@operator("DeformConv", since=(19, 22))
def deform_conv(node: Node) -> Bound:
    """ONNX DeformConv-22 over images: taps between pixels are linear, taps outside are zero."""
    kernel = node.attribute("kernel_shape") or []
    weight = node.constant(1)
    if weight is not None:
        kernel = list(weight.shape[2:])
    if len(kernel) != 2:
        raise DeclinedError(f"a deformable window of shape {kernel}")
    window = Window.of(node, kernel)
    groups, shared = node.attribute("group", 1), node.attribute("offset_group", 1)
    return bind_operands(node, _deform_conv, window=window, groups=groups, offset_groups=shared)


def _deform_conv(
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    window: Window,
    groups: int,
    offset_groups: int,
) -> Tensor:
    batch, channels = x.shape[:2]
    taps = window.kernel[0] * window.kernel[1]
    high, wide = offset.shape[-2:]
    places = _places(offset.reshape(-1, offset_groups, taps, 2, high, wide), window)
    # (B * groups, taps * high, wide, 2), horizontal first and scaled to -1 ... 1, as grid_sample wants it.
    sizes = torch.tensor([x.shape[3], x.shape[2]], dtype=x.dtype, device=x.device)
    grid = (2 * places.flip(3).permute(0, 1, 2, 4, 5, 3) + 1) / sizes - 1
    planes = x.reshape(batch * offset_groups, channels // offset_groups, *x.shape[2:])
    grid = grid.expand(batch, *grid.shape[1:]).reshape(batch * offset_groups, taps * high, wide, 2)
    read = functional.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    read = read.reshape(batch, offset_groups, channels // offset_groups, taps, high * wide)
    if mask is not None:
        read = read * mask.reshape(-1, offset_groups, 1, taps, high * wide)
    columns = read.reshape(batch, groups, channels // groups * taps, high * wide)
    rows = weight.reshape(groups, weight.shape[0] // groups, -1)
    result = torch.matmul(rows, columns).reshape(batch, weight.shape[0], high, wide)
    return result if bias is None else result + bias.reshape(-1, 1, 1)


def _places(offset: Tensor, window: Window) -> Tensor:
    """Where each tap reads: rows and columns of the input, in the shape of `offset (B, G, taps, 2, H, W)`."""
    axes = []
    for axis, size in enumerate(offset.shape[-2:]):
        first = torch.arange(size, dtype=offset.dtype, device=offset.device) * window.strides[axis]
        tap = torch.arange(window.kernel[axis], dtype=offset.dtype, device=offset.device)
        axes.append((tap * window.dilations[axis])[:, None] + first[None, :] - window.pads[axis])
    rows = axes[0][:, None, :, None].expand(-1, window.kernel[1], -1, offset.shape[-1])
    columns = axes[1][None, :, None, :].expand(window.kernel[0], -1, offset.shape[-2], -1)
    return offset + torch.stack([rows.flatten(0, 1), columns.flatten(0, 1)], dim=1)
