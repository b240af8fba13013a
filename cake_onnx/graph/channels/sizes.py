"""How wide each part of a graph shall be: what a drop saves, which drops are allowed, and the plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from cake_onnx.graph.added_norms import ADDED
from cake_onnx.graph.channels.follow import Channels
from cake_onnx.graph.wiring import RECURRENT, attribute

_COUNTED = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
BESIDE = 0.1
"""What was not asked for counts a tenth of the same share of what was."""
_SMALLEST_SHARE = 16
"""No axis is narrowed below this part of its width."""

_BELOW_A_BLOCK = 1.5
"""What reading a channel costs where there are fewer than a block, over one of a whole block (measured)."""

Key = tuple[str, int]
"""A tensor and one of its axes."""
Widths = dict[tuple[Key, ...], int]
"""Items that each group keeps, by the axes they run along."""
Goal = Literal["parameters", "operations"]
"""What there shall be less of."""


@dataclass(frozen=True)
class Group:
    """Items that run along the same axes, such as the output channels of one layer.

    Attributes:
        keys: Weights and axes they run along; the same before and after narrowing.
        items: The items.
        block: Dropped at once: convolutions run at full speed where their channels are a multiple of this.
    """

    keys: tuple[Key, ...]
    items: tuple[int, ...]
    block: int


class Sizes:
    """Widths of all weights as channels go.

    Args:
        channels: The graph.
        goal: What `size` counts.
        block: Channels that convolutions are computed in at once, where the plan shall go by that.
    """

    def __init__(self, channels: Channels, goal: Goal = "parameters", block: int | None = None) -> None:
        self.goal: Goal = goal
        self.block = block
        stored = [
            tensor
            for tensor in channels.model.graph.initializer
            if tensor.data_type in _COUNTED and not tensor.name.startswith(ADDED)
        ]
        self._shape = {tensor.name: list(tensor.dims) for tensor in stored}
        self._uses = _uses(channels)
        self._kernels = _kernels(channels)
        # How many dropped items each index of an axis hangs on; it stays where that is none.
        self._gone: dict[Key, npt.NDArray[np.int64]] = {}
        self._places: dict[int, list[tuple[Key, npt.NDArray[np.int64]]]] = {}
        weights, seen = set(channels.weights()), set[bytes]()
        for name, labels in channels.labels.items():
            for axis, label in enumerate(labels):
                # Between weights no axis may vanish either, such as the heads of an attention.
                if label is not None and (name in weights or label.tobytes() not in seen):
                    seen.add(label.tobytes())
                    self._watch((name, axis), label.tolist(), channels)
        self.groups = self._group(channels, weights)
        self.dropped: set[int] = set()

        self._whole = self.parameters, self.carried_out

    @property
    def operations(self) -> int:
        """Multiplications and additions of one sample, where weights take part in them."""
        return sum(math.prod(shape) * self._uses.get(name, 0) for name, shape in self._shape.items())

    @property
    def carried_out(self) -> int:
        """Operations as convolutions are computed: in whole blocks of channels, where their size is known."""
        return sum(
            math.prod(self._computed(name, shape)) * self._uses.get(name, 0)
            for name, shape in self._shape.items()
        )

    @property
    def cost(self) -> float:
        """Parameters and operations, each as a share of what the graph had."""
        weigh = (1.0, BESIDE) if self.goal == "parameters" else (BESIDE, 1.0)
        now = (self.parameters, self.carried_out)
        return sum(w * part / max(1, all) for w, part, all in zip(weigh, now, self._whole, strict=True))

    @property
    def size(self) -> int:
        """Parameters, or operations of one sample."""
        return self.parameters if self.goal == "parameters" else self.operations

    @property
    def parameters(self) -> int:
        """Numbers that all weights hold now."""
        return sum(math.prod(shape) for shape in self._shape.values())

    @property
    def widths(self) -> Widths:
        """How wide each group is now."""
        return {group.keys: len(self.left(group)) for group in self.groups}

    def left(self, group: Group) -> list[int]:
        """Items of a group that are not dropped."""
        return [item for item in group.items if item not in self.dropped]

    def saving(self, items: Sequence[int]) -> float:
        """How much of the cost would go with some items."""
        before = self.cost
        self.drop(items)
        saved = before - self.cost
        self.take_back(items)
        return saved

    def may_drop(self, items: Sequence[int]) -> bool:
        """Whether every axis would keep its smallest width without the items."""
        self.drop(items)
        keys = {key for item in items for key, _ in self._places[item]}
        fine = all(
            np.count_nonzero(gone == 0) >= max(1, len(gone) // _SMALLEST_SHARE)
            for gone in (self._gone[key] for key in keys)
        )
        self.take_back(items)
        return fine

    def drop(self, items: Sequence[int]) -> None:
        """Let items go."""
        self._count(items, 1)
        self.dropped.update(items)

    def take_back(self, items: Sequence[int]) -> None:
        """Let dropped items stay after all."""
        self._count(items, -1)
        self.dropped.difference_update(items)

    def _count(self, items: Sequence[int], change: int) -> None:
        for item in items:
            for key, places in self._places[item]:
                self._gone[key][places] += change
        for name, axis in {key for item in items for key, _ in self._places[item]}:
            if name in self._shape:
                self._shape[name][axis] = int(np.count_nonzero(self._gone[name, axis] == 0))

    def _computed(self, name: str, shape: list[int]) -> list[int]:
        """Sizes of a weight in whole blocks; only what is read may be less than one."""
        block = self.block
        if block is None or name not in self._kernels:
            return shape
        made, read, *kernel = shape
        read = min(block, round(_BELOW_A_BLOCK * read)) if read < block else _filled(read, block)
        return [_filled(made, block), read, *kernel]

    def _watch(self, key: Key, items: list[int], channels: Channels) -> None:
        self._gone[key] = np.zeros(len(items), dtype=np.int64)
        places: dict[int, list[int]] = {}
        for place, item in enumerate(items):
            for root in channels.items.roots(item):
                places.setdefault(root, []).append(place)
        for root, found in places.items():
            self._places.setdefault(root, []).append((key, np.array(found)))

    def _group(self, channels: Channels, weights: set[str]) -> tuple[Group, ...]:
        by_keys: dict[tuple[Key, ...], list[int]] = {}
        for item in channels.droppable():
            keys = tuple(sorted(key for key, _ in self._places[item] if key[0] in weights))
            by_keys.setdefault(keys, []).append(item)
        made = {(node.input[1], 0) for node in channels.model.graph.node if node.op_type == "Conv"}
        return tuple(
            Group(keys, tuple(items), (self.block or _block(len(items))) if made.intersection(keys) else 1)
            for keys, items in by_keys.items()
        )


def _uses(channels: Channels) -> dict[str, int]:
    """How often each number of a weight is multiplied for one sample."""
    shapes, uses = channels.observed.shapes, {}
    for node in channels.model.graph.node:
        made = shapes.get(node.output[0], ())
        for name in node.input[:2]:
            if node.op_type == "Conv" and name == node.input[1]:
                uses[name] = math.prod(made[2:])
            elif node.op_type in ("Gemm", "MatMul") and name in channels.contracted:
                uses[name] = math.prod(made[1:-1])
        if node.op_type in RECURRENT:
            steps = shapes[node.input[0]][0]
            uses |= dict.fromkeys(node.input[1:3], steps)
    return uses


def _kernels(channels: Channels) -> frozenset[str]:
    """Weights of convolutions that read all channels."""
    nodes = (node for node in channels.model.graph.node if node.op_type == "Conv" and not node.domain)
    return frozenset(node.input[1] for node in nodes if attribute(node, "group", 1) == 1)


def _filled(channels: int, block: int) -> int:
    return -(-channels // block) * block


def _block(width: int) -> int:
    """Convolutions run fastest where channels come in full vectors of 16, 8 or 4 numbers (measured)."""
    return 16 if width >= 32 else 4 if width >= 16 else 1
