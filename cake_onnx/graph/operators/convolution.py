"""Conv, with every kind of padding the specification knows."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from cake_onnx.graph.convolution import Conv2d
from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.windows import Window, pad_window, require_rank

_MODULES = {1: nn.Conv1d, 2: Conv2d, 3: nn.Conv3d}
_FUNCTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@operator("Conv", since=(1, 11, 22))
def conv(node: Node) -> Bound:
    """ONNX Conv-22. A stored weight becomes an `nn.ConvNd`, so that others can find and prune it."""
    module = stored_conv(node)
    return node.bind(computed_conv(node), 0, 1, 2) if module is None else node.bind(module, 0)


def stored_conv(node: Node) -> nn.Module | None:
    """A module of `x (B, C, *sizes)` for a convolution whose weight and bias are stored, else None.

    Raises:
        DeclinedError: The convolution is over more than three axes.
    """
    weight, bias = node.constant(1), node.constant(2)
    if weight is None or (node.has(2) and bias is None):
        return None
    node.ignore("kernel_shape")  # the stored weight says it
    window = Window.of(node, require_rank(list(weight.shape[2:])))
    module = _module(weight, bias, window, node.attribute("group", 1))
    return module if window.symmetric else nn.Sequential(Apply(pad_window, window=window), module)


def computed_conv(node: Node) -> Apply:
    """A module of `x (B, C, *sizes)`, weight and perhaps bias."""
    window = Window.of(node, node.attribute("kernel_shape") or [])
    return Apply(_conv_computed, window=window, groups=node.attribute("group", 1))


def _module(weight: Tensor, bias: Tensor | None, window: Window, groups: int) -> nn.Module:
    padding = window.pads[: len(window.kernel)] if window.symmetric else 0
    module = _MODULES[weight.dim() - 2](
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(window.kernel),  # type: ignore[arg-type]
        stride=tuple(window.strides),  # type: ignore[arg-type]
        padding=tuple(padding) if padding else 0,  # type: ignore[arg-type]
        dilation=tuple(window.dilations),  # type: ignore[arg-type]
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    module.weight = nn.Parameter(weight)
    if bias is not None:
        module.bias = nn.Parameter(bias)
    return module


def _conv_computed(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, window: Window, groups: int
) -> Tensor:
    known = window.with_kernel(list(weight.shape[2:]))
    if weight.dim() - 2 not in _FUNCTIONS:
        raise DeclinedError(f"a convolution over {weight.dim() - 2} axes")
    apply = _FUNCTIONS[weight.dim() - 2]
    padded = pad_window(x, known)
    result: Tensor = apply(padded, weight, bias, known.strides, 0, known.dilations, groups)
    return result
