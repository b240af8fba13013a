"""Small convolutional students in the manner of LeNet and VGG, without normalisation."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import nn

from cake_onnx.graph.specs import InputSpec
from cake_onnx.students.entrance import image_entrance
from cake_onnx.students.family import FAMILIES, initialise_for_relu, needs_image

# From this side on an axis is seen through 5 pixels and convolved without padding, below it through 3.
_LARGE = 12
# Stages follow each other until no axis is longer than this; what is left is flattened.
_FLATTEN = 6


@FAMILIES.register("cnn")
class Cnn:
    """Convolution, ReLU and 2x2 maximum, repeated; then one hidden layer; then the classes."""

    name: ClassVar[str] = "cnn"

    def unfit(self, input: InputSpec) -> str | None:
        """A phrase for flat inputs."""
        return needs_image(input, self.name)

    def build(self, input: InputSpec, classes: int, width: float) -> nn.Module:
        """A network `(B, *shape)` → `(B, K)`; see `Family.build`.

        Width 1 is 6, 12, 24, 48, 48, ... channels and a hidden layer of 2K, at least 40 and at most 256.
        """
        assert input.image_shape is not None
        channels, *size = input.image_shape
        layers: list[nn.Module] = [*image_entrance(input)]
        stage = 0
        while stage == 0 or max(size) > _FLATTEN:
            outward = stage_channels(stage, width)
            layers += _stage(channels, outward, size)
            channels, stage = outward, stage + 1
            size = [_after(side) for side in size]
        hidden = hidden_neurons(classes, width)
        output = nn.Linear(hidden, classes)
        layers += [nn.Flatten(), nn.Linear(channels * size[0] * size[1], hidden), nn.ReLU(), output]
        module = nn.Sequential(*layers)
        initialise_for_relu(module, output)
        return module


def stage_channels(stage: int, width: float) -> int:
    """Channels of a stage, at least 2.

    The first stage gives way last: it has its 6 channels from width 0.5 on. Halving it costs more accuracy
    than any other saving (a LeNet-5 student of 16 thousand parameters lost 4 points by it). It also grows
    slowest, with the root of the width: at full resolution its channels cost the most time.

    Args:
        stage: 0 for the first.
        width: At least 0.
    """
    full = min(6 << stage, 48)
    smallest = min(2 << stage, 8)
    if width >= 1:
        return int(full * (math.sqrt(width) if stage == 0 else width))
    grown = min(1.0, 2 * width) if stage == 0 else width
    return smallest + int((full - smallest) * grown)


def hidden_neurons(classes: int, width: float) -> int:
    """Neurons of the hidden layer: 8 at width 0, then `(2K, within 40 and 256) * width`."""
    full = min(max(40, 2 * classes), 256)
    return int(full * width) if width >= 1 else 8 + int((full - 8) * width)


def _stage(channels: int, outward: int, size: list[int]) -> list[nn.Module]:
    # Axis by axis, so that a strip of one pixel's height is a 1-d convolution and pays for no unused weights.
    height, width = (_kernel(side) for side in size)
    down, along = (0 if side >= _LARGE else _kernel(side) // 2 for side in size)
    layers: list[nn.Module] = [
        nn.Conv2d(channels, outward, (height, width), padding=(down, along)),
        nn.ReLU(),
    ]
    pool = tuple(_pool(side) for side in size)
    return [*layers, nn.MaxPool2d(pool)] if max(pool) > 1 else layers


def _kernel(side: int) -> int:
    if side >= _LARGE:
        return 5
    return 3 if side > 1 else 1


def _pool(side: int) -> int:
    return 2 if side >= 4 else 1


def _after(side: int) -> int:
    return (side - 4 if side >= _LARGE else side) // _pool(side)
