"""Sizes that are known before anything runs, computed with once instead of at every pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, numpy_helper

from cake_onnx.graph.fold import fold_constants
from cake_onnx.graph.shapes import drop_dead_nodes, infer_shapes, write_reshape_targets
from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring, attribute

_ROUNDS = 8
"""A size may become known by a reshape whose target was a size; exporters nest that two or three deep."""


def settle_sizes(model: ModelProto) -> ModelProto:
    """Replace what is computed from known sizes by its value, and reshape targets by constants.

    Exporters read sizes off tensors at run time although only the batch is open: for
    `x.reshape(b, n, heads, c // heads)` TorchScript writes some twenty nodes, which cost small networks more
    than their activations. What makes a tensor that is still needed keeps its name.
    """
    for _ in range(_ROUNDS):
        known = _known_sizes(model)
        if not known:
            return model
        settled = infer_shapes(drop_dead_nodes(write_reshape_targets(fold_constants(_with(model, known)))))
        if _is_constant(settled):
            return model
        model = settled
    return model


def _is_constant(model: ModelProto) -> bool:
    """Whether nothing of the input is left; folding cannot end in an output that no node makes."""
    graph = model.graph
    needed = Wiring(graph).ancestors(value.name for value in graph.output)
    return needed.isdisjoint(value.name for value in graph.input)


def _known_sizes(model: ModelProto) -> dict[str, npt.NDArray[np.int64]]:
    """Tensors read off a shape whose values are known; those made from them are left to folding."""
    wiring = Wiring(model.graph)
    outputs = {value.name for value in model.graph.output}
    known = {}
    for node in model.graph.node:
        if node.domain in ("", "ai.onnx") and not outputs.intersection(node.output):
            sizes = _READING.get(node.op_type, _nothing)(node, wiring)
            if sizes is not None:
                known[node.output[0]] = sizes
    return known


def _with(model: ModelProto, known: Mapping[str, npt.NDArray[np.int64]]) -> ModelProto:
    result = copy_model(model)
    del result.graph.node[:]
    result.graph.node.extend(node for node in model.graph.node if node.output[0] not in known)
    result.graph.initializer.extend(numpy_helper.from_array(sizes, name) for name, sizes in known.items())
    return result


def _shape(node: NodeProto, wiring: Wiring) -> npt.NDArray[np.int64] | None:
    return _numbers(_read(node, wiring))


def _gathered(node: NodeProto, wiring: Wiring) -> npt.NDArray[np.int64] | None:
    sizes, stored = _sizes_of(node, wiring), wiring.constant(node.input[1])
    if sizes is None or stored is None:
        return None
    indices = stored.astype(np.int64)
    if bool(((indices < -len(sizes)) | (indices >= len(sizes))).any()):
        return None
    return _numbers(np.asarray(sizes[indices], dtype=object))


def _sliced(node: NodeProto, wiring: Wiring) -> npt.NDArray[np.int64] | None:
    sizes = _sizes_of(node, wiring)
    given = [wiring.constant(name) for name in node.input[1:] if name]
    if sizes is None or len(given) < 2 or len(given) != len(node.input) - 1:
        return None
    numbers = [int(value.reshape(-1)[0]) for value in given if value is not None and value.size == 1]
    if len(numbers) < len(given):
        return None
    return _numbers(sizes[numbers[0] : numbers[1] : numbers[3] if len(numbers) > 3 else 1])


def _nothing(node: NodeProto, wiring: Wiring) -> None:
    return None


_READING: dict[str, Callable[[NodeProto, Wiring], npt.NDArray[np.int64] | None]] = {
    "Shape": _shape, "Gather": _gathered, "Slice": _sliced,
}  # fmt: skip


def _sizes_of(node: NodeProto, wiring: Wiring) -> npt.NDArray[np.object_] | None:
    """The shape that a node takes a part of, None if it works on something else."""
    maker = wiring.maker.get(node.input[0])
    return _read(maker, wiring) if maker is not None and maker.op_type == "Shape" else None


def _read(node: NodeProto, wiring: Wiring) -> npt.NDArray[np.object_] | None:
    """What `Shape` gives: numbers, and anything else for sizes that are not known."""
    dims = wiring.dims(node.input[0])
    if dims is None:
        return None
    start, end = attribute(node, "start", 0), attribute(node, "end", None)
    return np.array([*dims, None], dtype=object)[:-1][start:end]


def _numbers(sizes: npt.NDArray[np.object_] | None) -> npt.NDArray[np.int64] | None:
    """The sizes, if all are numbers."""
    if sizes is None or not all(isinstance(size, int) for size in sizes.reshape(-1).tolist()):
        return None
    return sizes.astype(np.int64)
