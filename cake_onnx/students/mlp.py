"""Fully connected students, for points, tables and images of teachers that do not convolve."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

from torch import nn

from cake_onnx.graph.specs import InputSpec
from cake_onnx.students.contrast import see_contrast
from cake_onnx.students.entrance import flat_entrance
from cake_onnx.students.family import FAMILIES, initialise_for_relu
from cake_onnx.students.pictures import Picture

# Below this many neurons a second layer would only be a bottleneck.
_ONE_LAYER = 32


@FAMILIES.register("mlp")
class Mlp:
    """ReLU networks of two hidden layers in the proportion 2:1, of one where that is small.

    Args:
        picture: What a flat input is a picture of, if it is one.
    """

    name: ClassVar[str] = "mlp"

    def __init__(self, picture: Picture | None = None) -> None:
        self.picture = picture

    def unfit(self, input: InputSpec) -> str | None:
        """None: every input can be flattened."""
        return None

    def build(self, input: InputSpec, classes: int, width: float) -> nn.Module:
        """A network `(B, *shape)` → `(B, K)`; see `Family.build`. Width 1 is worth 33 neurons."""
        features = math.prod(input.shape)
        sizes = [features, *hidden_layers(features, classes, width), classes]
        layers: list[nn.Module] = [*flat_entrance(input)]
        for inward, outward in itertools.pairwise(sizes):
            layers += [nn.Linear(inward, outward), nn.ReLU()]
        module = nn.Sequential(*layers[:-1])
        output = module[-1]
        assert isinstance(output, nn.Linear)
        initialise_for_relu(module, output)
        picture = self.picture or input.image_shape
        if picture is not None:
            first = next(layer for layer in module if isinstance(layer, nn.Linear))
            see_contrast(first, picture, input.layout == "NHWC")
        return module


def hidden_layers(features: int, classes: int, width: float) -> tuple[int, ...]:
    """Sizes of the hidden layers, one or two.

    The size asked for is that of a network of one layer with `1 + 32 width` neurons. Where that is more than
    32 neurons, two layers of at least the same size take its place, the narrowest that will do: so the number
    of parameters has no jump where the second layer comes in.

    Args:
        features: Numbers in one input.
        classes: K.
        width: At least 0.
    """
    neurons = 1 + int(_ONE_LAYER * width)
    if neurons <= _ONE_LAYER:
        return (neurons,)
    asked = neurons * (features + 1 + classes) + classes
    # (F + 1) a + (a + 1) a / 2 + K (a / 2 + 1) = asked, solved for a: an estimate that is too small by one
    # at most once the second layer is rounded up.
    linear = features + 1.5 + classes / 2
    first = max(1, int(math.sqrt(linear * linear + 2 * (asked - classes)) - linear) - 1)
    while _parameters(features, first, classes) < asked:
        first += 1
    return first, _half(first)


def _half(neurons: int) -> int:
    return (neurons + 1) // 2


def _parameters(features: int, first: int, classes: int) -> int:
    second = _half(first)
    return (features + 1) * first + (first + 1) * second + (second + 1) * classes
