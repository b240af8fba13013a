"""Trim a file to the classifier in it: drop inputs that its scores do not need, show scores that it hides."""

from __future__ import annotations

from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.normalise import normalise
from cake_onnx.graph.outputs import behind_columns, choose_scores, first_maker, is_label
from cake_onnx.graph.shapes import drop_dead_nodes, infer_shapes
from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring

_CLASSIFIERS = ("LinearClassifier", "SVMClassifier")


def trim_to_classifier(model: ModelProto) -> tuple[ModelProto, tuple[str, ...]]:
    """The model with an output of scores and without inputs that they do not need.

    Args:
        model: A teacher as found.

    Returns:
        The model itself and no words where nothing was to be done; else a plain copy and what was done.
        Outputs of the file stay, but for those that need an input left out.
    """
    plain = normalise(model)
    shown, note = _show_scores(plain)
    fed, dropped = _drop_inputs(shown)
    notes = (*((note,) if note else ()), *dropped)
    return (fed, notes) if notes else (model, ())


def _show_scores(plain: ModelProto) -> tuple[ModelProto, str]:
    """Make the scores that labels or single columns are taken from an output, if no output holds scores."""
    wiring = Wiring(plain.graph)
    floats = [value for value in plain.graph.output if not is_label(value)]
    if not floats and len(plain.graph.output) == 1:
        hidden, why = _behind_label(wiring, plain.graph.output[0].name), "the file gives labels only"
    elif len(floats) > 1:
        hidden, why = (
            behind_columns(wiring, [value.name for value in floats]),
            "the file gives them one by one",
        )
    else:
        return plain, ""
    if hidden is None:
        return plain, ""
    result = copy_model(plain)
    result.graph.output.append(_described(plain, hidden))
    return result, f"scores '{hidden}' made an output: {why}"


def _behind_label(wiring: Wiring, label: str) -> str | None:
    """The tensor whose best entry a label names."""
    node = first_maker(wiring, label)
    while node is not None and node.op_type in ("Gather", "ArrayFeatureExtractor", "LabelEncoder"):
        node = first_maker(wiring, node.input[-1])
    if node is None:
        return None
    if node.op_type in _CLASSIFIERS:
        return str(node.output[1]) or None
    if node.op_type in ("Greater", "GreaterOrEqual"):
        threshold = wiring.constant(node.input[1])
        return str(node.input[0]) if threshold is not None and threshold.size == 1 else None
    return str(node.input[0]) if node.op_type in ("ArgMax", "TopK") else None


def _described(plain: ModelProto, name: str) -> ValueInfoProto:
    known: list[ValueInfoProto] = list(infer_shapes(plain).graph.value_info)
    for value in known:
        if value.name == name and value.type.tensor_type.elem_type:
            return value
    unknown: ValueInfoProto = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    return unknown


def _drop_inputs(plain: ModelProto) -> tuple[ModelProto, list[str]]:
    """Leave out inputs that the scores do not need, with the outputs that need them."""
    if len(plain.graph.input) < 2:
        return plain, []
    wiring = Wiring(plain.graph)
    try:
        needed = wiring.ancestors([choose_scores(plain)[0]])
    except UnsupportedTeacherError:
        return plain, []
    foreign = {value.name for value in plain.graph.input} - needed
    if not foreign:
        return plain, []
    lost = [v.name for v in plain.graph.output if foreign & wiring.ancestors([v.name])]
    result = copy_model(plain)
    del result.graph.input[:], result.graph.output[:]
    result.graph.input.extend(value for value in plain.graph.input if value.name not in foreign)
    result.graph.output.extend(value for value in plain.graph.output if value.name not in lost)
    notes = [f"input '{name}' left out: the scores do not need it" for name in sorted(foreign)]
    notes += [f"output '{name}' left out: it needs an input that the scores do not" for name in lost]
    return drop_dead_nodes(result), notes
