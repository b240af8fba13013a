"""Name the operators that have no differentiable counterpart here, before a converter stumbles over them."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, defs

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.tensors import opset_of

_TREES = "a tree is flat everywhere but at its thresholds, so its gradient is zero"
_VECTORS = "this form of support vector machine has no gradient form here"
_TEXT = "it works on text, which cannot be moved by a gradient"
_LABELS = "it looks labels or text up and does not compute with numbers"
_DATA_LOOP = "how often it runs depends on the data, or on something that is known at run time only"
_CHOSEN = "it selects by rank: what is selected does not change with a small change of the input"

_NETWORK = "give a neural network or a linear classifier"
_PLAIN_EXPORT = (
    "export the model so that this operator is not needed, for example without preprocessing of text"
)
_UNROLLED = "export the model with a fixed number of steps, or without loops"
_NUMBERS = "give the part of the model behind it, which takes numbers"

REASONS: dict[str, tuple[str, str]] = {
    "TreeEnsemble": (_TREES, _NETWORK),
    "TreeEnsembleClassifier": (_TREES, _NETWORK),
    "TreeEnsembleRegressor": (_TREES, _NETWORK),
    "SVMClassifier": (_VECTORS, _NETWORK),
    "SVMRegressor": (_VECTORS, _NETWORK),
    "Loop": (_DATA_LOOP, _UNROLLED),
    "Scan": (_DATA_LOOP, _UNROLLED),
    "If": ("which of its branches runs depends on the data", _UNROLLED),
    "TopK": (_CHOSEN, _NETWORK),
    "LabelEncoder": (_LABELS, _NUMBERS),
    "CategoryMapper": (_LABELS, _NUMBERS),
    "DictVectorizer": (_LABELS, _NUMBERS),
    "StringNormalizer": (_TEXT, _NUMBERS),
    "StringConcat": (_TEXT, _NUMBERS),
    "StringSplit": (_TEXT, _NUMBERS),
    "RegexFullMatch": (_TEXT, _NUMBERS),
    "TfIdfVectorizer": (_TEXT, _NUMBERS),
    "Tokenizer": (_TEXT, _NUMBERS),
    "ZipMap": ("it ends a model, and here something is computed from it", _PLAIN_EXPORT),
    "NonMaxSuppression": ("it belongs to detectors and selects boxes", "give a classifier"),
    "NonZero": ("the size of its result depends on the data", _PLAIN_EXPORT),
    "Unique": ("the size of its result depends on the data", _PLAIN_EXPORT),
    "Multinomial": ("it draws at random, so that no two runs agree", "export the model for inference"),
    "RandomNormal": ("it draws at random, so that no two runs agree", "export the model for inference"),
    "RandomUniform": ("it draws at random, so that no two runs agree", "export the model for inference"),
    "RandomNormalLike": ("it draws at random, so that no two runs agree", "export the model for inference"),
    "RandomUniformLike": ("it draws at random, so that no two runs agree", "export the model for inference"),
    "Bernoulli": ("it draws at random, so that no two runs agree", "export the model for inference"),
}
"""Operator to why it carries no gradient, and what to do."""

_WITHOUT_GRADIENT = (
    *("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"),
    *("TfIdfVectorizer", "StringNormalizer"),
)
CONTROL_FLOW = ("Loop", "Scan", "If")
_SELECTING = ("TopK", *CONTROL_FLOW)
_OF_ONNXRUNTIME = "com.microsoft"


def refuse_without_gradient(model: ModelProto) -> None:
    """Check that no operator of the whole graph rules a gradient out, wherever it stands.

    Raises:
        UnsupportedTeacherError: Names the first such node.
    """
    from cake_onnx.graph.operators import registry

    for node in model.graph.node:
        if node.op_type in _WITHOUT_GRADIENT:
            version = since_version(model, node)
            if not registry.has_converter(node.domain, node.op_type, version):
                raise unsupported(model, node)


def refuse_selection(model: ModelProto) -> None:
    """Name an operator that looks results up instead of computing them, where a model could not be cut.

    Raises:
        UnsupportedTeacherError: There is such an operator.
    """
    for node in model.graph.node:
        if node.op_type in _SELECTING:
            raise unsupported(model, node)


def refuse_unknown(model: ModelProto) -> None:
    """Name an operator that neither ONNX nor the file defines, for a file that onnxruntime refuses.

    Raises:
        UnsupportedTeacherError: There is such an operator.
    """
    own = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        known = (node.domain, node.op_type) in own or defs.has(node.op_type, domain=domain)
        if not known and domain != _OF_ONNXRUNTIME:
            raise unsupported(model, node)


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
        if not registry.has_converter(node.domain, node.op_type, since_version(model, node)):
            raise unsupported(model, node)


def unsupported(model: ModelProto, node: NodeProto) -> UnsupportedTeacherError:
    """The refusal of one node: operator, domain, version, node, why, and what to do."""
    return unsupported_because(model, node, *_why(model, node))


def unsupported_because(model: ModelProto, node: NodeProto, why: str, remedy: str) -> UnsupportedTeacherError:
    """The refusal of one node for a reason that its operator alone does not tell."""
    return UnsupportedTeacherError(
        "operators with a gradient that this program knows",
        f"{node.op_type} (domain {node.domain or 'ai.onnx'}, version {since_version(model, node)}) "
        f"in node '{node.name or node.op_type}': {why}",
        remedy,
    )


def _why(model: ModelProto, node: NodeProto) -> tuple[str, str]:
    if node.op_type in REASONS:
        return REASONS[node.op_type]
    domain = "" if node.domain == "ai.onnx" else node.domain
    if not defs.has(node.op_type, domain=domain) and domain != _OF_ONNXRUNTIME:
        return (
            "it is not an operator of ONNX, and the file does not hold its definition as a function",
            "export the model with standard operators, or with the function's body in the file",
        )
    return (
        f"it is not converted yet (the file imports version {opset_of(model, node.domain)} of its domain)",
        "export the model without this operator, or report it with the model",
    )
