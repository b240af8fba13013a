"""Read values inside a converted graph while it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from onnx import ModelProto
from torch import Tensor, nn


class Taps:
    """What chosen nodes of a converted graph give.

    Args:
        body: A graph as `convert_graph` gives it, whose modules are named after the places of their nodes.
        places: Place in the graph of the node that makes it, by name of the tensor.

    Attributes:
        values: Tensors by name of the runs so far, while they are read; else None.
    """

    def __init__(self, body: nn.Module, places: Mapping[str, int]) -> None:
        self.values: dict[str, Tensor] | None = None
        names = {place: name for name, place in places.items()}
        for path, module in body.named_children():
            found = re.search(r"(?:^|/)n(\d+)_", path)
            if found and int(found[1]) in names:
                module.register_forward_hook(_Tap(self, names[int(found[1])]))

    @contextmanager
    def reading(self) -> Iterator[dict[str, Tensor]]:
        """Tensors by name, filled by every run within the block; outside of it nothing is kept."""
        self.values = {}
        try:
            yield self.values
        finally:
            self.values = None


@dataclass
class _Tap:
    """A hook that a deep copy of the graph takes along, unlike a function."""

    taps: Taps
    name: str

    def __call__(self, module: nn.Module, inputs: object, output: object) -> None:
        if self.taps.values is not None and isinstance(output, Tensor):
            self.taps.values[self.name] = output


def places_of(model: ModelProto) -> dict[str, int]:
    """Place of the node that makes it, by name of the tensor, for nodes of one output."""
    return {node.output[0]: place for place, node in enumerate(model.graph.node) if len(node.output) == 1}
