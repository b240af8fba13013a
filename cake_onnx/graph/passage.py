"""Where a gradient can pass: the way from the input to the scores, through operators that compute."""

from __future__ import annotations

from onnx import ModelProto, NodeProto

from cake_onnx.graph.refuse import unsupported_because

_COMPARING = frozenset(
    [
        *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not", "And", "Or", "Xor"),
        *("IsNaN", "IsInf"),
    ]
)
_SELECTING = frozenset(["ArgMax", "ArgMin", "NonZero", "Unique"])
_OF_SHAPES = frozenset(["Shape", "Size"])
_PLACES: dict[str, tuple[int, ...]] = {
    # operator: inputs that say where, not how much
    "ArrayFeatureExtractor": (1,), "Compress": (1,), "Gather": (1,), "GatherElements": (1,),
    "GatherND": (1,), "If": (0,), "OneHot": (0,), "Range": (0, 1, 2), "Reshape": (1,), "ScatterND": (1,),
    "ScatterElements": (1,), "Slice": (1, 2, 3, 4), "Tile": (1,), "TopK": (1,), "Where": (0,),
}  # fmt: skip


def refuse_without_passage(body: ModelProto) -> None:
    """Check that the scores follow from the input otherwise than by comparing and selecting.

    Trees can be written as comparisons and neighbours as a search; both then consist of operators that each
    convert.

    Args:
        body: A prepared graph: one input, one output.

    Raises:
        UnsupportedTeacherError: Names the first operator that lets no gradient through.
    """
    passed = {body.graph.input[0].name}
    connected = set(passed)
    blocked: NodeProto | None = None
    for node in body.graph.node:
        if not connected.intersection(node.input) and not _has_graph(node):
            continue
        connected.update(node.output)
        through = _through(node, passed)
        stops = len(through) < len(node.output) and passed.intersection(node.input)
        if stops and blocked is None and node.op_type not in _OF_SHAPES:
            blocked = node
        passed.update(through)
    if body.graph.output[0].name not in passed and blocked is not None:
        raise unsupported_because(
            body,
            blocked,
            "all scores follow from the input through it or its like, as in trees and searches for "
            "neighbours, and what it selects does not change with a small change of the input",
            "give a neural network or a linear classifier",
        )


def _through(node: NodeProto, passed: set[str]) -> list[str]:
    """Outputs that a gradient reaches."""
    if node.op_type in _COMPARING | _SELECTING | _OF_SHAPES:
        return []
    values = [name for place, name in enumerate(node.input) if place not in _PLACES.get(node.op_type, ())]
    if not passed.intersection(values) and not _has_graph(node):
        return []
    # The second output of TopK says where the first was found.
    return list(node.output[:1]) if node.op_type == "TopK" else list(node.output)


def _has_graph(node: NodeProto) -> bool:
    return any(attribute.HasField("g") for attribute in node.attribute)
