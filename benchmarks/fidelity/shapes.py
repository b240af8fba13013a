"""Students of fixed shape, so that rows compare with published ones."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from cake_onnx.graph.specs import InputSpec


def half_lenet5(input: InputSpec, classes: int) -> nn.Module:
    """LeNet-5 with half its width everywhere: 3, 8 channels and 60, 42 neurons; 15,738 parameters."""
    assert input.image_shape is not None
    channels, side, _ = input.image_shape
    return nn.Sequential(
        nn.Conv2d(channels, 3, 5, padding=(32 - side) // 2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 8, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(200, 60), nn.ReLU(), nn.Linear(60, 42), nn.ReLU(), nn.Linear(42, classes),
    )  # fmt: skip


SHAPES: dict[str, Callable[[InputSpec, int], nn.Module]] = {"half": half_lenet5}
