"""Sizes that are known before anything runs, computed with once instead of at every pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, numpy_helper

from cake_onnx.graph.fold import compute_ahead
from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring, attribute

Sizes = npt.NDArray[np.object_]
"""Numbers, names of sizes that are the same wherever the name stands, and None for other sizes."""

_ROUNDS = 8
"""A size may become known by a reshape whose target was a size; exporters nest that two or three deep."""
_LONGEST = 16
"""Numbers of a stored tensor that may still be sizes."""


def settle_sizes(model: ModelProto) -> ModelProto:
    """Replace what is computed from known sizes by its value, and reshape targets by constants.

    Exporters read sizes off tensors at run time although only the batch is open: for
    `x.reshape(b, n, heads, c // heads)` TorchScript writes some twenty nodes, which cost small networks more
    than their activations. What makes a tensor that is still needed keeps its name.
    """
    for _ in range(_ROUNDS):
        known, targets = _findings(model)
        if not known and not targets:
            return model
        settled = compute_ahead(_with(model, known, targets))
        if _is_constant(settled):
            return model
        model = settled
    return model


def _findings(model: ModelProto) -> tuple[dict[str, Sizes], dict[str, Sizes]]:
    """Tensors of sizes whose values are known, and reshape targets by the name of what is reshaped."""
    wiring = Wiring(model.graph)
    read: dict[str, Sizes] = {}
    known, targets = {}, {}
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "Reshape" and len(node.input) == 2 and node.input[1] in read:
            target = _target(node, read[node.input[1]], wiring)
            if target is not None:
                targets[node.output[0]] = target
        elif node.op_type in _READING:
            sizes = _READING[node.op_type](node, [_sizes(name, read, wiring) for name in node.input], wiring)
            if sizes is None:
                continue
            read[node.output[0]] = sizes
            if _are_numbers(sizes):
                known[node.output[0]] = sizes
    return known, targets


def _sizes(name: str, read: Mapping[str, Sizes], wiring: Wiring) -> Sizes | None:
    """What was read off a shape, or a few stored whole numbers."""
    if name in read:
        return read[name]
    tensor = wiring.stored.get(name)
    if tensor is None or math.prod(tensor.dims) > _LONGEST:
        return None
    stored = numpy_helper.to_array(tensor)
    return np.array(stored.tolist(), dtype=object) if stored.dtype in (np.int64, np.int32) else None


def _with(model: ModelProto, known: Mapping[str, Sizes], targets: Mapping[str, Sizes]) -> ModelProto:
    result = copy_model(model)
    del result.graph.node[:]
    result.graph.node.extend(node for node in model.graph.node if node.output[0] not in known)
    for node in result.graph.node:
        if node.output[0] in targets:
            node.input[1] = f"{node.output[0]}_settled"
    stored = dict(known) | {f"{name}_settled": target for name, target in targets.items()}
    result.graph.initializer.extend(
        numpy_helper.from_array(sizes.astype(np.int64), name) for name, sizes in stored.items()
    )
    return result


def _is_constant(model: ModelProto) -> bool:
    """Whether nothing of the input is left; folding cannot end in an output that no node makes."""
    graph = model.graph
    needed = Wiring(graph).ancestors(value.name for value in graph.output)
    return needed.isdisjoint(value.name for value in graph.input)


def _target(node: NodeProto, sizes: Sizes, wiring: Wiring) -> Sizes | None:
    """The constant that a reshape target is, with -1 for what is left over; None where more is open."""
    given = wiring.dims(node.input[0])
    target = list(sizes)
    if 0 in target or given is None:
        return None
    if -1 in target:
        _fill(target, given)
    whole = [size if isinstance(size, int) else -1 for size in target]
    return np.array(whole, dtype=object) if whole.count(-1) <= 1 else None


def _fill(target: list[Any], given: list[int | str | None]) -> None:
    """Put the number in place of -1, if the sizes that are not numbers are the same on both sides."""
    before, after = list(given), [size for size in target if size != -1]
    for size in [size for size in after if isinstance(size, str) and size in before]:
        before.remove(size)
        after.remove(size)
    if _are_numbers(np.array(before + after, dtype=object)) and all(after):
        target[target.index(-1)] = math.prod(before) // math.prod(after)  # type: ignore[arg-type]


def _are_numbers(sizes: Sizes) -> bool:
    return all(isinstance(size, int) for size in sizes.reshape(-1).tolist())


def _shape(node: NodeProto, inputs: list[Sizes | None], wiring: Wiring) -> Sizes | None:
    dims = wiring.dims(node.input[0])
    if dims is None:
        return None
    start, end = attribute(node, "start", 0), attribute(node, "end", None)
    return np.array(dims, dtype=object)[start:end]


def _gathered(node: NodeProto, inputs: list[Sizes | None], wiring: Wiring) -> Sizes | None:
    sizes, indices = inputs
    if sizes is None or indices is None or sizes.ndim != 1 or not _are_numbers(indices):
        return None
    places = indices.astype(np.int64)
    if bool(((places < -len(sizes)) | (places >= len(sizes))).any()):
        return None
    return np.asarray(sizes[places], dtype=object)


def _sliced(node: NodeProto, inputs: list[Sizes | None], wiring: Wiring) -> Sizes | None:
    sizes, *given = inputs
    limits = [limit.reshape(-1)[0] for limit in given if limit is not None and limit.size == 1]
    if sizes is None or sizes.ndim != 1 or not 2 <= len(limits) == len(given):
        return None
    step = limits[3] if len(limits) == 4 else 1  # third is the axis, of which there is one
    if not _are_numbers(np.array([*limits[:2], step], dtype=object)):
        return None
    return sizes[limits[0] : limits[1] : step]


def _joined(node: NodeProto, inputs: list[Sizes | None], wiring: Wiring) -> Sizes | None:
    parts = [part for part in inputs if part is not None and part.ndim == 1]
    return np.concatenate(parts) if len(parts) == len(inputs) else None


def _as_vector(node: NodeProto, inputs: list[Sizes | None], wiring: Wiring) -> Sizes | None:
    return inputs[0].reshape(1) if inputs[0] is not None and inputs[0].ndim == 0 else None


_READING: dict[str, Callable[[NodeProto, list[Sizes | None], Wiring], Sizes | None]] = {
    "Shape": _shape, "Gather": _gathered, "Slice": _sliced, "Concat": _joined, "Unsqueeze": _as_vector,
}  # fmt: skip
