"""What a student is, what a family of students offers, and what all families share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from cake_onnx.graph.specs import InputSpec
from cake_onnx.registry import Registry


@dataclass(frozen=True)
class Student:
    """A network that will be taught.

    Attributes:
        module: Maps `(B, *shape)` float32, in the teacher's units and layout, to logits `(B, K)`.
        family: Name of the family it was built by.
        parameters: Trainable numbers in `module`.
        reason: Why this family, in one phrase for the report.
        shrink_to: For a student that starts as the teacher: parameters at the end.
        file_sha256: Of the file that it was made from, if it was.
    """

    module: nn.Module
    family: str
    parameters: int
    reason: str
    shrink_to: int | None = None
    file_sha256: str | None = None


class Family(Protocol):
    """Networks of one kind and every size."""

    @property
    def name(self) -> str:
        """The word a user writes after `--student`."""
        ...

    def unfit(self, input: InputSpec) -> str | None:
        """Why no network of this family can take `input`, as a phrase; None where one can."""
        ...

    def build(self, input: InputSpec, classes: int, width: float) -> nn.Module:
        """A freshly initialised network, drawn from torch's global generator.

        Args:
            input: What the teacher takes.
            classes: K, at least 2.
            width: At least 0. The number of parameters never falls as it grows; 0 is the smallest network.

        Returns:
            A module `(B, *shape)` float32 in the teacher's units → logits `(B, K)`.
        """
        ...


FAMILIES: Registry[type[Family]] = Registry("student family", "--student")


def needs_image(input: InputSpec, name: str) -> str | None:
    """The `unfit` phrase of families that look at neighbourhoods of pixels, None for an image."""
    if input.image_shape is None:
        return f"{name} needs an image, and an input of shape {input.shape} has no height and width"
    return None


def initialise_for_relu(module: nn.Module, output: nn.Linear) -> None:
    """Initialise all convolutions and linear layers of a network without normalisation, in place.

    Zero biases and He et al. (2015) equation 10, variance 2 / fan-in, so that the signal keeps its size from
    ReLU to ReLU however deep the network is. The `output` layer has no ReLU behind it and gets variance
    1 / fan-in, so that logits start at about unit size.

    Args:
        module: The network.
        output: Its last layer.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    nn.init.normal_(output.weight, std=1 / math.sqrt(output.in_features))
