"""Name the operators that have no differentiable counterpart here, before a converter stumbles over them."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, defs

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.tensors import opset_of

_REASONS = {
    "TreeEnsemble": "trees have no gradient",
    "TreeEnsembleClassifier": "trees have no gradient",
    "TreeEnsembleRegressor": "trees have no gradient",
    "SVMClassifier": "support vector machines are not supported yet",
    "SVMRegressor": "support vector machines are not supported yet",
    "Loop": "its length can depend on the data",
    "Scan": "it is a loop",
    "If": "which branch runs can depend on the data",
    "TopK": "k-nearest neighbours and selections have no useful gradient",
    "LabelEncoder": "it maps labels or text, not numbers",
    "StringNormalizer": "it works on text",
    "TfIdfVectorizer": "it works on text",
    "CategoryMapper": "it works on text",
    "ZipMap": "it ends a model, and something is computed from it here",
}


_WITHOUT_GRADIENT = (
    *("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "SVMClassifier", "SVMRegressor"),
    *("TfIdfVectorizer", "StringNormalizer"),
)


def refuse_without_gradient(model: ModelProto) -> None:
    """Check that no operator of the whole graph rules a gradient out, wherever it stands.

    Raises:
        UnsupportedTeacherError: Names the first such node.
    """
    for node in model.graph.node:
        if node.op_type in _WITHOUT_GRADIENT:
            raise _unsupported(node, since_version(model, node), _REASONS[node.op_type])


def refuse_selection(model: ModelProto) -> None:
    """Name an operator that looks results up instead of computing them, where a model could not be cut.

    Raises:
        UnsupportedTeacherError: There is such an operator.
    """
    for node in model.graph.node:
        if node.op_type in ("TopK", "Loop", "Scan", "If"):
            raise _unsupported(node, since_version(model, node), _REASONS[node.op_type])


def since_version(model: ModelProto, node: NodeProto) -> int:
    """The version in which an operator got the meaning it has under the model's imports; 1 if unknown."""
    schema = _schema(model, node)
    return int(schema.since_version) if schema else 1


def fewest_outputs(model: ModelProto, node: NodeProto) -> int:
    """How many outputs an operator must have under the model's imports; 1 if it is unknown."""
    schema = _schema(model, node)
    return int(schema.min_output) if schema else 1


def _schema(model: ModelProto, node: NodeProto) -> defs.OpSchema | None:
    imported = opset_of(model, node.domain) or 1
    try:
        return defs.get_schema(node.op_type, domain=node.domain, max_inclusive_version=imported)
    except defs.SchemaError:
        return None


def refuse_unsupported(model: ModelProto) -> None:
    """Check that every node of a prepared body has a converter.

    Raises:
        UnsupportedTeacherError: Names the first node without one.
    """
    from cake_onnx.graph.operators import registry

    for node in model.graph.node:
        version = since_version(model, node)
        if not registry.has_converter(node.domain, node.op_type, version):
            raise _unsupported(node, version, _why(model, node))


def _why(model: ModelProto, node: NodeProto) -> str:
    if node.op_type in _REASONS:
        return _REASONS[node.op_type]
    if not defs.has(node.op_type, domain=node.domain):
        return "it is not an operator of ONNX itself"
    return f"it is not converted yet (opset {opset_of(model, node.domain)})"


def _unsupported(node: NodeProto, version: int, why: str) -> UnsupportedTeacherError:
    where = f"{node.domain}.{node.op_type}" if node.domain else f"{node.op_type}"
    return UnsupportedTeacherError(
        "operators with a gradient that this program knows",
        f"{where}-{version} in node '{node.name}': {why}",
        "use a neural or linear classifier, or export it so that this operator is not needed",
    )
