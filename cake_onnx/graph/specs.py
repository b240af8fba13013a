"""What a classifier takes and gives, without protobuf: the types every other floor talks in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Layout = Literal["NCHW", "NHWC", "flat"]
OutputKind = Literal["logits", "probabilities", "label+probabilities"]


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest value an input element may take.

    Attributes:
        low: One number for all values, one for each channel of an image, or, for `flat` inputs, one for each
            value or for each place along one axis, such as the channels of a series.
        high: Same length as `low`, each above its `low`.
        source: Where the numbers came from, for people: `--input-range`, `metadata of the model`,
            `Scaler node`, `assumed`.
        assumed: True where nothing in the file and nobody said so; the report repeats it.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    source: str
    assumed: bool

    def __str__(self) -> str:
        return range_text(self.low, self.high)


def range_text(low: tuple[float, ...], high: tuple[float, ...]) -> str:
    """Bounds in few words: `0 to 1`, or the outermost of many and how many there are."""
    outermost = f"{min(low):g} to {max(high):g}"
    alike = len(set(low)) == len(set(high)) == 1
    return outermost if alike else f"{outermost}, one range for each of {len(low)}"


def bounds_shapes(shape: tuple[int, ...], layout: Layout) -> dict[int, tuple[int, ...]]:
    """How bounds lie beside one sample: by how many there are, the shape that broadcasts against it.

    Args:
        shape: One sample.
        layout: Order of its axes. Of two axes of a `flat` input that are as long, the first has the bounds.
    """
    alone = (1,) * len(shape)
    axes = {"NCHW": [0], "NHWC": [2], "flat": range(len(shape))}[layout]
    shapes = {shape[axis]: (*alone[:axis], shape[axis], *alone[axis + 1 :]) for axis in reversed(axes)}
    if layout == "flat":
        shapes[math.prod(shape)] = shape
    return shapes | {1: alone}


@dataclass(frozen=True)
class InputSpec:
    """The one data input of a classifier.

    Attributes:
        name: Name in the graph.
        shape: One sample without the batch axis, for example `(1, 28, 28)`; dynamic axes are resolved.
        dtype: numpy name of the declared element type, for example `float32` or `uint8`.
        layout: `NCHW` or `NHWC` for three axes that look like an image, else `flat`.
        bounds: Range of the values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: Layout
    bounds: Bounds

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """`(channels, height, width)` of an image-like input, None for `flat`."""
        if self.layout == "NCHW":
            channels, height, width = self.shape
            return channels, height, width
        if self.layout == "NHWC":
            height, width, channels = self.shape
            return channels, height, width
        return None

    @property
    def bounds_shape(self) -> tuple[int, ...]:
        """Shape in which either side of the bounds broadcasts against a sample.

        Raises:
            ValueError: There is another number of bounds than the input has values or channels.
        """
        numbers, shapes = len(self.bounds.low), bounds_shapes(self.shape, self.layout)
        if numbers not in shapes:
            raise ValueError(
                f"{numbers} bounds do not fit an input of shape {self.shape} in layout {self.layout}"
            )
        return shapes[numbers]

    @property
    def square(self) -> tuple[int, int, int] | None:
        """`(1, s, s)` where a sample has s*s values, s at least 6: the picture that it may be of."""
        features = math.prod(self.shape)
        side = math.isqrt(features)
        return (1, side, side) if side >= 6 and side * side == features else None


@dataclass(frozen=True)
class OutputSpec:
    """What a classifier says.

    Attributes:
        scores: Name of the graph output that holds the scores.
        label: Name of the graph output that holds the label, or None.
        kind: What the scores are.
        classes: Number of classes K, at least 2.
        class_names: K names where the file tells them, else None.
    """

    scores: str
    label: str | None
    kind: OutputKind
    classes: int
    class_names: tuple[str, ...] | None
