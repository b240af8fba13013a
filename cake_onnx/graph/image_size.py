"""The image size that a graph needs, where it declares none: the one its weights fit to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto, helper

from cake_onnx.graph.wiring import Wiring, attribute, dims_of

_SIZES = (
    *(8, 12, 14, 16, 20, 24, 28, 32, 36, 40, 48, 50, 56, 60, 64, 72, 75, 80, 84, 90, 96, 100, 112, 120, 128),
    *(
        144,
        150,
        160,
        176,
        180,
        192,
        200,
        208,
        224,
        227,
        231,
        240,
        256,
        260,
        288,
        299,
        300,
        320,
        331,
        336,
        380,
    ),
    *(384, 416, 448, 480, 512, 528, 600, 640),
)
"""Square images that classifiers are trained with."""
_SMALL = 4096
"""Stored tensors of at most this many elements keep their values: they may be targets of a reshape."""


def fitting_image(
    wiring: Wiring, value: ValueInfoProto, first: list[NodeProto], imports: Sequence[OperatorSetIdProto]
) -> tuple[int, ...] | None:
    """One sample `(C, S, S)` or `(S, S, C)` of the only usual size that the weights fit to, else None.

    A graph that pools over whatever is left of the image fits to all sizes, so that none is told.

    Args:
        wiring: Lookup tables of the graph.
        value: Its image input, of unknown rank or with unknown sizes.
        first: The first nodes that read it.
        imports: Operator versions of the model.
    """
    dims = dims_of(value)
    frame = _frame(dims, first, wiring)
    if frame is None:
        return None
    bare = _bare_graph(wiring.graph, imports)
    fitting = [size for size in _SIZES if _fits(bare, value, _filled(frame, size))]
    if not fitting or len(fitting) > len(_SIZES) // 4:
        return None
    # Strides leave a few pixels of room: of neighbouring sizes the one that divides best is meant.
    size = max(fitting, key=lambda number: (number & -number, -number))
    return tuple(_filled(frame, size)[1:])


def _frame(
    dims: list[int | str | None] | None, first: list[NodeProto], wiring: Wiring
) -> list[int | None] | None:
    """`[1, C, None, None]` or `[1, None, None, C]` with what is declared, None where nothing tells C."""
    declared = dims or [None] * 4
    sizes = [size if isinstance(size, int) else None for size in declared]
    turned = any(n.op_type == "Transpose" and attribute(n, "perm") == [0, 3, 1, 2] for n in first)
    place = 3 if turned else 1
    if sizes[place] is None:
        weights = [wiring.constant(n.input[1]) for n in first if n.op_type == "Conv" and not turned]
        known = [w for w in weights if w is not None]
        if not known:
            return None
        sizes[place] = int(known[0].shape[1])
    free = [i for i in range(1, 4) if i != place]
    if sum(sizes[i] is None for i in free) == 0:
        return None
    return [1, *sizes[1:]]


def _filled(frame: list[int | None], size: int) -> list[int]:
    return [size if entry is None else entry for entry in frame]


def _bare_graph(graph: GraphProto, imports: Sequence[OperatorSetIdProto]) -> ModelProto:
    """The graph without the numbers of its large weights, which a question of shapes does not need."""
    bare = GraphProto()
    bare.CopyFrom(graph)
    del bare.initializer[:], bare.value_info[:], bare.output[:], bare.input[:]
    for tensor in graph.initializer:
        if np.prod(tensor.dims) <= _SMALL:
            bare.initializer.append(tensor)
        else:
            bare.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    bare.output.extend(helper.make_empty_tensor_value_info(value.name) for value in graph.output)
    return helper.make_model(bare, opset_imports=list(imports))


def _fits(bare: ModelProto, value: ValueInfoProto, dims: list[int]) -> bool:
    """Whether all shapes agree for one sample of this size, and one sample comes out."""
    model = ModelProto()
    model.CopyFrom(bare)
    model.graph.input.append(
        helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, dims)
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return False
    found = [dims_of(output) for output in inferred.graph.output]
    return all(not sizes or sizes[0] in (1, None) for sizes in found)
