"""Outputs of a classifier that do not follow from its raw scores: labels made anew, others left out.

A student computes scores. Its label is the class with the best one, and so it is in almost every classifier,
though many graphs compute it from other tensors (votes, likelihoods before they are normalised). Where
onnxruntime's labels on random inputs are those of the best scores, the label output is written that way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.cut import tail_nodes
from cake_onnx.graph.ending import find_ending
from cake_onnx.graph.outputs import class_values, is_label
from cake_onnx.graph.runtime import (
    Array,
    as_declared,
    draw_inputs,
    fixed_batch,
    open_session,
    run_all,
    scores,
)
from cake_onnx.graph.specs import InputSpec, OutputSpec
from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring

_SAMPLES = 128
_AGREEMENT = 0.9
_TIE = 1e-4
"""Over the largest score: labels of classes this close are a matter of rounding."""


@dataclass(frozen=True)
class Rule:
    """How a label follows from scores.

    Attributes:
        best: `ArgMax` or `ArgMin` of the columns, or `Greater` for a single column.
        threshold: Of the single column.
        agreement: Share of random inputs on which it gives the label.
    """

    best: str
    threshold: float = 0.0
    agreement: float = 1.0


@dataclass(frozen=True)
class _Label:
    """Nodes and weights that make a label, and how often it is that of the file."""

    nodes: list[NodeProto]
    stored: list[TensorProto]
    agreement: float


def follow_scores(
    plain: ModelProto, model: ModelProto, input: InputSpec, output: OutputSpec
) -> tuple[ModelProto, tuple[str, ...]]:
    """The model with outputs that all follow from its raw scores, and what was changed for that, in words.

    Args:
        plain: The normalised teacher.
        model: The teacher as onnxruntime shall run it, with the same outputs.
        input: Its data input.
        output: Its score output.

    Returns:
        `plain` where that is so already. Otherwise labels are looked up by the best score, and outputs that
        show the inside of the model (features, other heads) are left out.

    Raises:
        UnsupportedTeacherError: A label is not that of the best score.
    """
    strangers = _strangers(plain, output)
    declared = _declared_columns(plain, output)
    compared = output.classes == 2 and output.kind == "logits"
    if not strangers and not compared and (declared is None or declared == output.classes > 2):
        return plain, ()
    rows = _observe_scores(model, input, output)
    if declared is not None and declared != rows.shape[1]:
        plain = _declare_columns(plain, output, rows.shape[1])
    if compared and rows.shape[1] == 1:
        # Without a look at the label, a regression beside a whole number would pass for two classes.
        strangers = strangers | {output.label or ""}
    wiring = Wiring(plain.graph)
    anew: dict[str, _Label] = {}
    for value in plain.graph.output:
        said = _observe_label(model, input, value) if value.name in strangers and is_label(value) else None
        # Whole numbers that are not one a sample are no label: they go with the features.
        if said is not None and said.size == len(rows):
            anew[value.name] = _label_from(wiring, rows, said, output, value.name)
    kept = [value for value in plain.graph.output if value.name not in strangers or value.name in anew]
    return _rewritten(plain, kept, anew), _notes(strangers, anew)


def _rewritten(plain: ModelProto, kept: list[ValueInfoProto], anew: dict[str, _Label]) -> ModelProto:
    """The model with the outputs `kept`, of which those of `anew` are made by new nodes."""
    result = copy_model(plain)
    del result.graph.output[:]
    result.graph.output.extend(kept)
    for node in result.graph.node:
        for field in (node.input, node.output):
            field[:] = [f"{name}/as_computed" if name in anew else name for name in field]
    for label in anew.values():
        result.graph.node.extend(label.nodes)
        result.graph.initializer.extend(label.stored)
    return result


def _notes(strangers: set[str], anew: dict[str, _Label]) -> tuple[str, ...]:
    lost = [
        f"output '{name}' left out: it does not follow from the scores"
        for name in sorted(strangers - set(anew))
    ]
    moved = [
        f"label '{name}' is that of the best score, as it was for {label.agreement:.1%} of random inputs"
        for name, label in anew.items()
        if label.agreement < 1
    ]
    return (*lost, *moved)


def _strangers(plain: ModelProto, output: OutputSpec) -> set[str]:
    """Outputs that do not follow from the raw scores, seen from the place where most of them do."""
    wiring = Wiring(plain.graph)
    names = [value.name for value in plain.graph.output]
    choices = [
        {name for name in names if tail_nodes(wiring, tensor, [name])[1] is not None}
        for tensor in find_ending(wiring, output.scores).raw
    ]
    return min(choices, key=len)


def _declared_columns(plain: ModelProto, output: OutputSpec) -> int | None:
    """Scores of one sample as the file declares them, None where it does not say."""
    dims = Wiring(plain.graph).dims(output.scores)
    sizes = [size for size in (dims or [])[1:] if isinstance(size, int)]
    return math.prod(sizes) if dims and len(dims) > 1 and len(sizes) == len(dims) - 1 else None


def _declare_columns(plain: ModelProto, output: OutputSpec, columns: int) -> ModelProto:
    """The model with a score output of `(batch, columns)`; scikit-learn's converter gets some wrong."""
    result = copy_model(plain)
    for value in result.graph.output:
        if value.name == output.scores:
            dims = value.type.tensor_type.shape.dim
            del dims[2:]
            dims[1].dim_value = columns
    return result


def _observe_scores(model: ModelProto, input: InputSpec, output: OutputSpec) -> Array:
    """Scores `(n, C)` of random inputs as they are, C being 1 for a single one."""
    session = open_session(model.SerializeToString(), threads=1)
    as_they_are = OutputSpec(output.scores, None, "logits", 1, output.class_names)
    return scores(session, input, as_they_are, draw_inputs(input, _SAMPLES, seed=2))


def _observe_label(model: ModelProto, input: InputSpec, label: ValueInfoProto) -> npt.NDArray[np.generic]:
    """What onnxruntime says of the same inputs."""
    session = open_session(model.SerializeToString(), threads=1)
    fed = as_declared(draw_inputs(input, _SAMPLES, seed=2), input)
    step = fixed_batch(session, input.name) or _SAMPLES
    chunks = [fed[i : i + step] for i in range(0, _SAMPLES, step)]
    # A batch that does not divide the samples is filled up; what is too much is cut off again.
    filled = [np.concatenate([chunk, fed[: step - len(chunk)]]) for chunk in chunks]
    said = [np.atleast_1d(np.asarray(run_all(session, [label.name], {input.name: x})[0])) for x in filled]
    return np.concatenate(said)[:_SAMPLES]


def _label_from(
    wiring: Wiring, rows: Array, said: npt.NDArray[np.generic], output: OutputSpec, label: str
) -> _Label:
    for table in class_values(wiring, output, label, said.dtype):
        rule = _rule(rows, table, said.reshape(-1), output)
        if rule is not None:
            return _label_nodes(wiring, output.scores, rule, table, label, said.ndim)
    raise UnsupportedTeacherError(
        f"a label output that names the class with the best of the scores '{output.scores}'",
        f"'{label}', which names other classes on random inputs",
        f"export the model without '{label}', or with scores of the classes themselves",
    )


def _rule(
    rows: Array, table: npt.NDArray[np.generic], said: npt.NDArray[np.generic], output: OutputSpec
) -> Rule | None:
    """The rule that gives the labels `said`, but for ties; None where none does."""
    if rows.shape[1] == 1:
        rules = [Rule("Greater", 0.0 if output.kind == "logits" else 0.5)]
    else:
        # scikit-learn's two-class support vector machines have the lower score for the class they name.
        rules = [Rule("ArgMax")] + ([Rule("ArgMin")] if rows.shape[1] == 2 else [])
    judged = [replace(rule, agreement=_agreement(rows, rule, table, said)) for rule in rules]
    best = max(judged, key=lambda rule: rule.agreement)
    return best if best.agreement >= _AGREEMENT else None


def _agreement(
    rows: Array, rule: Rule, table: npt.NDArray[np.generic], said: npt.NDArray[np.generic]
) -> float:
    """Share of labels that the rule gives, ties counted as given."""
    if rule.best == "Greater":
        index = (rows[:, 0] > rule.threshold).astype(int)
        gap = np.abs(rows[:, 0] - rule.threshold)
    else:
        index = rows.argmax(axis=1) if rule.best == "ArgMax" else rows.argmin(axis=1)
        ordered = np.sort(rows, axis=1)
        gap = ordered[:, -1] - ordered[:, -2]
    tied = gap <= _TIE * np.abs(rows).max()
    return float(np.mean((table[index] == said) | tied))


def _label_nodes(
    wiring: Wiring, scores: str, rule: Rule, table: npt.NDArray[np.generic], label: str, rank: int
) -> _Label:
    maker = wiring.maker.get(scores)
    source = maker.input[0] if maker is not None and maker.op_type == "ZipMap" else scores
    base = f"label_by_scores/{label}"
    stored = {"table": table, "shape": np.array([-1] + [1] * (rank - 1))}
    nodes: list[NodeProto] = [helper.make_node("Flatten", [source], [f"{base}/rows"], axis=1)]
    if rule.best == "Greater":
        stored["threshold"] = np.array(rule.threshold, dtype=_width(wiring, source))
        nodes += [
            helper.make_node("Greater", [f"{base}/rows", f"{base}/threshold"], [f"{base}/above"]),
            helper.make_node("Cast", [f"{base}/above"], [f"{base}/index"], to=TensorProto.INT64),
        ]
    else:
        nodes.append(helper.make_node(rule.best, [f"{base}/rows"], [f"{base}/index"], axis=1))
    nodes += [
        helper.make_node("Reshape", [f"{base}/index", f"{base}/shape"], [f"{base}/place"]),
        helper.make_node("Gather", [f"{base}/table", f"{base}/place"], [label]),
    ]
    for node in nodes:
        node.name = f"{base}/{node.op_type}"
    weights = [numpy_helper.from_array(value, f"{base}/{name}") for name, value in stored.items()]
    return _Label(nodes, weights, rule.agreement)


def _width(wiring: Wiring, name: str) -> type[np.floating]:
    """Element type of the scores; only double matters, half is rare enough to be float32 then refused."""
    values = {value.name: value for value in (*wiring.graph.value_info, *wiring.graph.output)}
    known = values.get(name)
    code = known.type.tensor_type.elem_type if known is not None else TensorProto.FLOAT
    return np.float64 if code == TensorProto.DOUBLE else np.float32
