"""Small residual students without normalisation."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor, nn

from cake_onnx.graph.convolution import Conv2d
from cake_onnx.graph.specs import InputSpec
from cake_onnx.students.entrance import image_entrance
from cake_onnx.students.family import FAMILIES, initialise_for_relu, needs_image

_STAGES = 3
# The stem brings larger images down to this side, as residual networks for photographs do.
_WORKING_SIDE = 56


class Block(nn.Module):
    """`relu(shortcut(x) + conv(relu(conv(x))))`, the basic block of He et al. (2016) without normalisation.

    Args:
        inward: Channels of the input.
        outward: Channels of the output.
        stride: Of the first convolution, by axis.
        kernel: Of both convolutions, by axis.
    """

    def __init__(self, inward: int, outward: int, stride: tuple[int, int], kernel: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.first = nn.Conv2d(inward, outward, kernel, stride, padding)
        self.second = nn.Conv2d(outward, outward, kernel, padding=padding)
        same = inward == outward and stride == (1, 1)
        self.shortcut = nn.Identity() if same else Conv2d(inward, outward, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """`(B, inward, H, W)` → `(B, outward, H / stride, W / stride)`, both rounded up."""
        y: Tensor = self.second(self.relu(self.first(x)))
        z: Tensor = self.relu(y + self.shortcut(x))
        return z

    def initialise(self) -> None:
        """Let the block begin as its shortcut (Fixup, Zhang et al. 2019, section 3.2).

        The last convolution of the branch starts at zero and the one before it shrunk by the square root of
        the number of blocks. Without normalisation the signal would otherwise double at every addition.
        Fixup's and SkipInit's trained scalars are left out: with three blocks they are not needed, and a
        product between convolution and addition would keep runtimes from joining the two.
        """
        nn.init.zeros_(self.second.weight)
        self.first.weight.data.mul_(1 / math.sqrt(_STAGES))


class GlobalMean(nn.Module):
    """`(B, C, H, W)` → `(B, C)`, for any H and W."""

    def forward(self, x: Tensor) -> Tensor:
        """Mean over the pixels."""
        return x.mean(dim=(2, 3))


@FAMILIES.register("resnet")
class Resnet:
    """A stem, three stages of one basic block, the mean over the pixels, the classes."""

    name: ClassVar[str] = "resnet"

    def unfit(self, input: InputSpec) -> str | None:
        """A phrase for flat inputs."""
        return needs_image(input, self.name)

    def build(self, input: InputSpec, classes: int, width: float) -> nn.Module:
        """A network `(B, *shape)` → `(B, K)`; see `Family.build`. Width 1 is 8, 16 and 32 channels."""
        assert input.image_shape is not None
        channels, *size = input.image_shape
        inward = stage_channels(0, width)
        stem, size = _stem(channels, inward, size)
        layers: list[nn.Module] = [*image_entrance(input), *stem]
        for stage in range(_STAGES):
            outward = stage_channels(stage, width)
            strides = tuple(2 if stage > 0 and side >= 7 else 1 for side in size)
            layers.append(Block(inward, outward, (strides[0], strides[1]), _kernel(size)))
            size = [math.ceil(side / step) for side, step in zip(size, strides, strict=True)]
            inward = outward
        output = nn.Linear(inward, classes)
        module = nn.Sequential(*layers, GlobalMean(), output)
        initialise_for_relu(module, output)
        for layer in module:
            if isinstance(layer, Block):
                layer.initialise()
        return module


def stage_channels(stage: int, width: float) -> int:
    """Channels of a stage: 2, 4, 8 at width 0 and 8, 16, 32 at width 1; multiples of four from 32 on.

    Args:
        stage: 0 for the first.
        width: At least 0.
    """
    channels = int((2 + 6 * width) * 2**stage)
    return channels if channels < 32 else channels // 4 * 4


def _stem(channels: int, outward: int, size: list[int]) -> tuple[list[nn.Module], list[int]]:
    kernel = _kernel(size)
    down, along = (2 if side > _WORKING_SIDE else 1 for side in size)
    padding = (kernel[0] // 2, kernel[1] // 2)
    layers: list[nn.Module] = [nn.Conv2d(channels, outward, kernel, (down, along), padding), nn.ReLU()]
    size = [math.ceil(size[0] / down), math.ceil(size[1] / along)]
    pool = tuple(math.ceil(side / _WORKING_SIDE) for side in size)
    if max(pool) > 1:
        layers.append(nn.MaxPool2d(pool))
    return layers, [side // step for side, step in zip(size, pool, strict=True)]


def _kernel(size: list[int]) -> tuple[int, int]:
    # An axis of one pixel has no neighbours to weigh.
    height, width = (3 if side > 1 else 1 for side in size)
    return height, width
