"""Follow channels through a graph: for every tensor, which items run along which axis.

The idea is that of dependency graphs in structural pruning (Fang et al., "DepGraph: Towards Any Structural
Pruning", CVPR 2023), on ONNX operators and with single indices instead of whole layers, so that joining,
splitting, flattening and heads need no special groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto

from cake_onnx.graph.channels.items import Items, Label
from cake_onnx.graph.channels.observe import Observed, observe, write_targets
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.wiring import Wiring

Labels = list[Label | None]
"""Items of every axis of a tensor, None for axes that cannot lose anything."""

SCORES = "they are the scores of the classes"
Rule = Callable[["Walk", NodeProto], None]
RULES: dict[str, Rule] = {}


@dataclass(frozen=True)
class Channels:
    """What can be dropped from a graph.

    Attributes:
        model: The graph, one input and one output.
        items: All items and how they hang together.
        labels: Items of every tensor and weight, by name.
        contracted: Weights and their axes that are summed over: what reads a channel, and how much of it.
        observed: Sizes of every tensor.
    """

    model: ModelProto
    items: Items
    labels: dict[str, Labels]
    contracted: dict[str, int]
    observed: Observed

    def droppable(self) -> tuple[int, ...]:
        """Simple items that may be dropped, in order of appearance."""
        found: dict[int, None] = {}
        for name in self.weights():
            for label in self.labels[name]:
                for item in () if label is None else label.tolist():
                    found.update(dict.fromkeys(self.items.roots(item)))
        return tuple(item for item in found if not self.items.is_frozen(item))

    def reason(self) -> str | None:
        """Why the first item that has to stay has to stay, scores of the classes left aside."""
        for name in self.weights():
            for label in self.labels[name]:
                for item in () if label is None else label.tolist():
                    why = self.items.reason(item)
                    if why is not None and why != SCORES:
                        return why
        return None

    def weights(self) -> tuple[str, ...]:
        """Names of the stored tensors that some label runs along."""
        stored = (tensor.name for tensor in self.model.graph.initializer)
        return tuple(name for name in stored if any(label is not None for label in self.labels.get(name, ())))


def follow_channels(model: ModelProto, input: InputSpec) -> Channels:
    """Find what belongs together in a prepared graph.

    Args:
        model: Graph with one input and one output, constants folded.
        input: What the input takes.

    Raises:
        UnsupportedTeacherError: onnxruntime does not run it.
    """
    observed = observe(model, input)
    model = write_targets(model, observed)
    walk = Walk(model, observed)
    for node in model.graph.node:
        rule = RULES.get(node.op_type) if node.domain == "" else None
        try:
            (rule or stop)(walk, node)
        except LostError as lost:
            walk.stop(node, str(lost))
    for output in model.graph.output:
        walk.freeze(output.name, SCORES)
    return Channels(model, walk.items, walk.labels, walk.contracted, observed)


class LostError(Exception):
    """A rule cannot follow channels through this use of an operator."""


class Walk:
    """State of one walk through a graph; rules read and write it."""

    def __init__(self, model: ModelProto, observed: Observed) -> None:
        self.model = model
        self.wiring = Wiring(model.graph)
        self.observed = observed
        self.items = Items()
        self.labels: dict[str, Labels] = {}
        self.contracted: dict[str, int] = {}

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of a tensor at the first batch observed."""
        if name not in self.observed.shapes:
            raise LostError(f"'{name}' is no tensor of one shape")
        return self.observed.shapes[name]

    def constant(self, name: str) -> npt.NDArray[np.generic] | None:
        """Value of a stored tensor, else None."""
        return self.wiring.constant(name)

    def label(self, name: str) -> Labels:
        """Labels of a tensor; one not seen before (the input, a constant) has none."""
        return self.labels.get(name) or [None] * len(self.shape(name))

    def set(self, name: str, labels: Sequence[Label | None]) -> None:
        """Label a tensor that a node makes, or unite with what a weight has already."""
        if not name:
            return
        sizes = self.shape(name)
        if len(sizes) != len(labels) or any(
            label is not None and len(label) != size for label, size in zip(labels, sizes, strict=True)
        ):
            raise LostError(f"'{name}' has another shape than its labels")
        known = self.labels.get(name)
        if known is None:
            self.labels[name] = list(labels)
            return
        for axis, (old, new) in enumerate(zip(known, labels, strict=True)):
            if old is not None and new is not None:
                self.items.unite_all(old, new)
            elif new is not None or old is not None:
                # Used once with and once without a label: nothing of it may go.
                self.items.freeze(new if new is not None else old, f"'{name}' is used in two ways")  # type: ignore[arg-type]
                known[axis] = old if old is not None else new

    def fresh(self, size: int) -> Label | None:
        """Items for a new axis; an axis of one index is none."""
        return self.items.new(size) if size > 1 else None

    def unite(self, first: Label | None, second: Label | None, why: str) -> Label | None:
        """One label for two axes that run together."""
        if first is None or second is None:
            present = first if first is not None else second
            if present is not None:
                self.items.freeze(present, why)
            return present
        if len(first) != len(second):
            raise LostError("axes of different sizes run together")
        self.items.unite_all(first, second)
        return first

    def freeze(self, name: str, why: str) -> None:
        """Keep everything that runs along any axis of a tensor."""
        for label in self.label(name):
            if label is not None:
                self.items.freeze(label, why)

    def stop(self, node: NodeProto, why: str) -> None:
        """Keep all that a node reads and makes."""
        for name in (*node.input, *node.output):
            if name and name in self.observed.shapes:
                self.freeze(name, f"{node.op_type} '{node.name}': {why}")
        for name in node.output:
            if name and name in self.observed.shapes:
                self.labels[name] = [None] * len(self.shape(name))


def rule(*op_types: str) -> Callable[[Rule], Rule]:
    """Register how channels pass through operators."""

    def register(follow: Rule) -> Rule:
        RULES.update(dict.fromkeys(op_types, follow))
        return follow

    return register


def stop(walk: Walk, node: NodeProto) -> None:
    """What happens at an operator nobody wrote a rule for."""
    walk.stop(node, "channels are not followed through this operator")
