"""Find which output of a classifier holds the class scores, and what kind of scores they are."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.ending import Ending, find_ending
from cake_onnx.graph.refuse import CONTROL_FLOW, unsupported
from cake_onnx.graph.specs import OutputKind, OutputSpec
from cake_onnx.graph.wiring import Wiring, attribute

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
_LABELS = (
    *(TensorProto.INT64, TensorProto.INT32, TensorProto.STRING, TensorProto.UINT32, TensorProto.UINT64),
    *(TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16),
)
_BY_PLACE = ("ArrayFeatureExtractor", "Gather", "Slice", "Split")
_SCORE_NAMES = (
    *("probabilities", "probability", "probs", "scores", "score", "logits", "softmax", "predictions"),
    "output",
)
_NAME_KEYS = ("names", "classes", "labels", "class_names")
_SUM_TOLERANCE = 1e-3


def choose_scores(model: ModelProto) -> tuple[str, str | None]:
    """Names of the score output and of the label output, if there is one.

    Args:
        model: A normalised model.

    Raises:
        UnsupportedTeacherError: No output, or more than one, can hold the scores.
    """
    outputs = list(model.graph.output)
    # Some writers list one output twice.
    candidates = list(dict.fromkeys(value.name for value in outputs if _may_be_scores(value)))
    wiring = Wiring(model.graph)
    # An output that another one is made from (features, logits beside probabilities) is not the last word.
    final = [name for name in candidates if not any(_made_from(wiring, other, name) for other in candidates)]
    if len(final) > 1 and (whole := behind_columns(wiring, final)) in candidates:
        final = [str(whole)]
    for narrower in (_computed, _of_labels, _of_two_axes, _called_scores):
        if len(final) > 1:
            final = narrower(wiring, final) or final
    if len(final) != 1:
        listed = ", ".join(f"'{value.name}' ({_kind_name(value)})" for value in outputs)
        raise UnsupportedTeacherError(
            "one output with a score for each class",
            listed or "no output",
            "export the model with the class scores as the only floating-point output",
        )
    labels = [value.name for value in outputs if is_label(value)]
    return final[0], labels[0] if len(labels) == 1 else None


def describe_output(
    model: ModelProto, scores: str, label: str | None, probe: npt.NDArray[np.float32]
) -> OutputSpec:
    """What the score output means.

    Args:
        model: A normalised model.
        scores: Name of the score output.
        label: Name of the label output, or None.
        probe: `(B, C)` scores that onnxruntime gave on random input; C is 1 for a single score.

    Raises:
        UnsupportedTeacherError: A regression, or a single class.
    """
    wiring = Wiring(model.graph)
    ending = find_ending(wiring, scores)
    columns = probe.shape[1]
    compared = ending.activation == "none" and label is not None
    if columns == 1 and ending.activation != "sigmoid" and not compared:
        last = wiring.maker.get(ending.raw[-1])
        if last is not None and last.op_type in CONTROL_FLOW:
            raise unsupported(model, last)
        raise UnsupportedTeacherError(
            "scores of at least two classes, or one sigmoid probability",
            f"output '{scores}' with one {'class' if ending.activation == 'softmax' else 'number'} a sample, "
            "as of a regression",
            "use a classifier as the teacher",
        )
    if columns == 0:
        raise UnsupportedTeacherError(
            "scores of at least two classes", f"an empty output '{scores}'", "check it"
        )
    classes = max(columns, 2)
    kind: OutputKind = "logits"
    if _are_probabilities(ending, probe):
        kind = "probabilities" if label is None else "label+probabilities"
    return OutputSpec(scores, label, kind, classes, _class_names(model, scores, label, classes))


def _are_probabilities(ending: Ending, probe: npt.NDArray[np.float32]) -> bool:
    if ending.activation in ("softmax", "sigmoid"):
        return True
    if ending.activation == "log_softmax":
        return False
    inside = bool(np.all(probe >= -_SUM_TOLERANCE) and np.all(probe <= 1 + _SUM_TOLERANCE))
    return inside and bool(np.allclose(probe.sum(axis=1), 1.0, atol=_SUM_TOLERANCE))


def class_values(
    wiring: Wiring, output: OutputSpec, label: str, dtype: np.dtype[np.generic]
) -> Iterator[npt.NDArray[np.generic]]:
    """Tables of K label values that the graph may mean, most telling first, in the type of the label output.

    Args:
        wiring: Lookup tables of a normalised graph.
        output: Its score output.
        label: Name of a label output.
        dtype: Of its values, as numpy has them.
    """
    makers = (wiring.maker.get(name) for name in (label, *passed_over(wiring, label)))
    attributes = [
        attribute(node, key)
        for node in (wiring.maker.get(output.scores), *makers)
        if node is not None
        for key in ("classlabels_int64s", "classlabels_ints", "classlabels_strings")
    ]
    found = _label_table(wiring, label)
    for values in (*(_texts(value) for value in attributes), found, range(output.classes)):
        if values is None or len(values) != output.classes:
            continue
        if dtype.kind in "OU":
            yield np.array([str(value) for value in values], dtype=object)
        elif all(str(value).lstrip("-").isdigit() for value in values):
            yield np.array([int(value) for value in values]).astype(dtype)


def behind_columns(wiring: Wiring, names: list[str]) -> str | None:
    """The tensor that all of the tensors are single columns of."""
    nodes = [first_maker(wiring, name) for name in names]
    sources = {node.input[0] for node in nodes if node is not None and node.op_type in _BY_PLACE}
    together = all(node is not None and node.op_type in _BY_PLACE for node in nodes)
    narrow = all((wiring.dims(name) or [None, 1])[1:] in ([], [1], [None]) for name in names)
    return str(sources.pop()) if together and narrow and len(sources) == 1 else None


def first_maker(wiring: Wiring, name: str) -> NodeProto | None:
    """The node that computes a tensor, casts and changes of shape passed over."""
    *_, source = (name, *passed_over(wiring, name))
    return wiring.maker.get(source)


def _computed(wiring: Wiring, candidates: list[str]) -> list[str]:
    """Those that are more than the input given back."""
    return [name for name in candidates if first_maker(wiring, name) is not None]


def _of_labels(wiring: Wiring, candidates: list[str]) -> list[str]:
    """Those made from what the arg max of a label output is taken of."""
    labels = [value.name for value in wiring.graph.output if is_label(value)]
    makers = [wiring.maker[name] for name in wiring.ancestors(labels) if name in wiring.maker]
    sources = {node.input[0] for node in makers if node.op_type in ("ArgMax", "TopK")}
    return [name for name in candidates if sources & wiring.ancestors([name])]


def _of_two_axes(wiring: Wiring, candidates: list[str]) -> list[str]:
    """Those of batch and one more axis."""
    return [name for name in candidates if len(wiring.dims(name) or []) == 2]


def _called_scores(wiring: Wiring, candidates: list[str]) -> list[str]:
    """The one whose name says it, the most telling name first."""
    del wiring
    words = {name: re.split(r"[^a-z]+", name.lower()) for name in candidates}
    found = [name for word in _SCORE_NAMES for name in candidates if word in words[name]]
    return found[:1]


def _may_be_scores(value: ValueInfoProto) -> bool:
    if value.type.HasField("sequence_type"):
        return bool(value.type.sequence_type.elem_type.HasField("map_type"))
    tensor_type = value.type.tensor_type
    return value.type.HasField("tensor_type") and tensor_type.elem_type in _FLOATS


def is_label(value: ValueInfoProto) -> bool:
    """Whether an output holds whole numbers or text."""
    return value.type.HasField("tensor_type") and value.type.tensor_type.elem_type in _LABELS


def _kind_name(value: ValueInfoProto) -> str:
    if not value.type.HasField("tensor_type"):
        return str(value.type.WhichOneof("value"))
    code = value.type.tensor_type.elem_type
    return str(TensorProto.DataType.Name(TensorProto.DataType.ValueType(code))).lower()


def _made_from(wiring: Wiring, name: str, source: str) -> bool:
    return name != source and source in wiring.ancestors([name])


def _class_names(model: ModelProto, scores: str, label: str | None, classes: int) -> tuple[str, ...] | None:
    wiring = Wiring(model.graph)
    found = _zipmap_keys(wiring.maker.get(scores)) or _metadata_names(model)
    if found is None and label is not None:
        found = _label_table(wiring, label)
    return found if found is not None and len(found) == classes else None


def _zipmap_keys(node: NodeProto | None) -> tuple[str, ...] | None:
    if node is None or node.op_type != "ZipMap":
        return None
    return _texts(attribute(node, "classlabels_int64s")) or _texts(attribute(node, "classlabels_strings"))


def _texts(values: object) -> tuple[str, ...] | None:
    if not isinstance(values, Sequence) or not values:
        return None
    return tuple(item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in values)


def _label_table(wiring: Wiring, label: str) -> tuple[str, ...] | None:
    """The constant that the label is looked up in, behind casts and reshapes."""
    node = first_maker(wiring, label)
    if node is None or node.op_type not in ("ArrayFeatureExtractor", "Gather"):
        return None
    table = wiring.constant(node.input[0])
    return None if table is None else _texts(table.reshape(-1).tolist())


def passed_over(wiring: Wiring, name: str) -> Iterator[str]:
    """Tensors that a tensor differs from in shape or type only, further and further back."""
    node = wiring.maker.get(name)
    while node is not None and node.op_type in ("Cast", "Reshape", "Identity", "Squeeze", "Flatten"):
        yield str(node.input[0])
        node = wiring.maker.get(node.input[0])


def _metadata_names(model: ModelProto) -> tuple[str, ...] | None:
    """Class names that some exporters put into the metadata, as JSON or as a Python literal."""
    for entry in model.metadata_props:
        if entry.key in _NAME_KEYS:
            value = _literal(entry.value)
            if isinstance(value, dict):
                value = list(value.values())
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                return tuple(value)
    return None


def _literal(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
