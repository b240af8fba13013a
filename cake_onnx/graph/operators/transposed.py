"""ConvTranspose, with every kind of padding and output size the specification knows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.windows import Window, require_rank

_MODULES = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_FUNCTIONS = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@dataclass(frozen=True)
class Crop:
    """What a transposed convolution leaves of its full result, an entry a spatial axis.

    Attributes:
        window: The window; its pads are what is cut off.
        extra: Positions added at the end (`output_padding`).
        sizes: The output sizes, None where they follow from the pads (`output_shape`).
    """

    window: Window
    extra: list[int]
    sizes: list[int] | None

    @property
    def by_torch(self) -> bool:
        """Whether torch's own padding does it."""
        steps = zip(self.extra, self.window.strides, self.window.dilations, strict=True)
        return (
            self.sizes is None
            and self.window.symmetric
            and all(extra < max(stride, dilation) for extra, stride, dilation in steps)
        )

    @property
    def grows(self) -> bool:
        """Whether positions may be added that no input reaches; they hold the bias only."""
        return self.sizes is not None or any(self.extra) or self.window.auto_pad.startswith("SAME")

    def amounts(self, full: list[int]) -> list[tuple[int, int]]:
        """Positions to cut off (negative) or to add at the start and the end of each axis."""
        rank = len(self.window.kernel)
        if self.sizes is None and not self.window.auto_pad.startswith("SAME"):
            starts, ends = self.window.pads[:rank], self.window.pads[rank:]
            return [(-a, extra - b) for a, b, extra in zip(starts, ends, self.extra, strict=True)]
        found = []
        for axis, size in enumerate(full):
            stride = self.window.strides[axis]
            inputs = (size - self.window.spans()[axis]) // stride + 1
            # Without a given size nothing is added beyond the full result, as in onnxruntime.
            wanted = self.sizes[axis] if self.sizes else min(inputs * stride, size + self.extra[axis])
            total = max(size + self.extra[axis] - wanted, 0)
            start = total // 2 if self.window.auto_pad == "SAME_UPPER" else total - total // 2
            found.append((-start, wanted - size + start))
        return found


@operator("ConvTranspose", since=(1, 11, 22))
def conv_transpose(node: Node) -> Bound:
    """ONNX ConvTranspose-22. A stored weight becomes an `nn.ConvTransposeNd`."""
    weight, bias = node.constant(1), node.constant(2)
    kernel = node.attribute("kernel_shape") or []
    if weight is not None:
        kernel = list(weight.shape[2:])
    crop = _crop(node, require_rank(kernel))
    groups = node.attribute("group", 1)
    if weight is None or (node.has(2) and bias is None):
        return node.bind(Apply(_computed, crop=crop, groups=groups), 0, 1, 2)
    if crop.by_torch:
        return node.bind(_module(weight, bias, crop, groups), 0)
    late = crop.grows and bias is not None
    layers = [_module(weight, None if late else bias, crop, groups), Apply(_cut, crop=crop)]
    if late and bias is not None:
        layers.append(Shift(bias))
    return node.bind(nn.Sequential(*layers), 0)


class Shift(nn.Module):
    """A bias that is added after the padding, to the padded positions too.

    Args:
        bias: Shift `(C,)`.
    """

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Add the bias to `x (B, C, *sizes)`."""
        return x + self.bias.reshape(-1, *[1] * (x.dim() - 2))


def _crop(node: Node, kernel: list[int]) -> Crop:
    window = Window.of(node, kernel)
    extra = node.attribute("output_padding") or [0] * len(kernel)
    sizes = node.attribute("output_shape") or None
    if sizes is not None and len(sizes) not in (len(kernel), len(kernel) + 2):
        raise DeclinedError(f"output_shape {sizes}")
    return Crop(window, list(extra), None if sizes is None else list(sizes[-len(kernel) :]))


def _module(weight: Tensor, bias: Tensor | None, crop: Crop, groups: int) -> nn.Module:
    window = crop.window
    rank = len(window.kernel)
    module = _MODULES[
        rank
    ](
        weight.shape[0],
        weight.shape[1] * groups,
        tuple(window.kernel),  # type: ignore[arg-type]
        stride=tuple(window.strides),  # type: ignore[arg-type]
        padding=tuple(window.pads[:rank]) if crop.by_torch else 0,  # type: ignore[arg-type]
        output_padding=tuple(crop.extra) if crop.by_torch else 0,  # type: ignore[arg-type]
        dilation=tuple(window.dilations),  # type: ignore[arg-type]
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    module.weight = nn.Parameter(weight)
    if bias is not None:
        module.bias = nn.Parameter(bias)
    return module


def _cut(full: Tensor, crop: Crop) -> Tensor:
    amounts = crop.amounts(list(full.shape[2:]))
    flat = [amount for side in reversed(amounts) for amount in side]
    return functional.pad(full, flat) if any(flat) else full


def _computed(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, crop: Crop, groups: int) -> Tensor:
    window = crop.window
    apply = _FUNCTIONS[len(window.kernel)]
    full: Tensor = apply(x, weight, None, window.strides, padding=0, groups=groups, dilation=window.dilations)
    result = _cut(full, crop)
    return result if bias is None else result + bias.reshape(-1, *[1] * (x.dim() - 2))
