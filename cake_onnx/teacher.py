"""The teacher: a file, its specs, a differentiable module, and the onnxruntime session that judges it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from cake_onnx.graph.check import Parity, check_parity
from cake_onnx.graph.convert import convert
from cake_onnx.graph.cost import multiply_adds
from cake_onnx.graph.inspect import operator_counts, parameter_count, traits
from cake_onnx.graph.load import LoadedModel, load_model
from cake_onnx.graph.prepare import Prepared, prepare
from cake_onnx.graph.reference import open_reference
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.specs import InputSpec, OutputSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_LIGHT, _LIGHT_CONVOLUTIONS = 50_000, 1_000_000
"""Multiply-adds of a sample up to which bfloat16 saves no time: dense layers in batches of 256
(benchmarks/speed), and networks with convolutions in whole runs, of which one lost half a point by it: at
0.4 M level, at 2.4 M 1.2 and at 9.3 M 1.5 times as quick (docs/tried.md, Precision)."""


@dataclass(frozen=True)
class Teacher:
    """A classifier that passed every check.

    Attributes:
        file: The bytes as found, with path, hash and size.
        input: What it takes.
        output: What it says.
        prepared: The part that was converted, and where it was cut from the rest.
        module: `(B, *shape)` float32 to logits `(B, K)`; needs no gradient for its weights.
        session: onnxruntime on `data`.
        parity: How far `module` and `session` lie apart.
        parameters: Numbers stored as weights.
        operators: Operator type to count.
        traits: What it is made of: `convolution`, `residual`, `attention`, …
        data: What `session` runs: the file, or what `changes` says was made of it.
        changes: What sets `data` apart from the file, in words; the student has the form of `data`.
        notes: What else was done on the way, and how a batch goes through, in words.
        remark: How `session` runs it, where an application would not run it so; words without a subject.
    """

    file: LoadedModel
    input: InputSpec
    output: OutputSpec
    prepared: Prepared
    module: nn.Module
    session: InferenceSession
    parity: Parity
    parameters: int
    operators: dict[str, int]
    traits: frozenset[str]
    data: bytes
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    remark: str = ""

    @property
    def quantised(self) -> bool:
        """True where weights are stored as integers."""
        return "quantised" in self.traits

    def exact_on(self, device: torch.device) -> bool:
        """Whether it stays in float32 there, whatever the device can do.

        Integers that are carried as floats break in bfloat16, and on a processor a small network saves
        nothing by it, since casting takes what computing gains.
        """
        most = _LIGHT_CONVOLUTIONS if "convolution" in self.traits else _LIGHT
        return self.quantised or (device.type == "cpu" and multiply_adds(self.prepared, self.input) < most)


def load_teacher(
    path: Path,
    input_range: tuple[float, float] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Teacher:
    """Read an ONNX classifier and make it differentiable.

    Args:
        path: The file.
        input_range: Lowest and highest value of an input element, if known.
        mean: Per channel, subtracted from inputs in [0, 1] before they reach the graph, if known.
        std: Per channel, that they were divided by.

    Raises:
        UsageError: There is no such file, or onnxruntime is not installed.
        UnsupportedTeacherError: It is not a classifier that can be distilled; the message says why.
    """
    file = load_model(path)
    reference = open_reference(file)
    input, output = read_signature(reference.model, input_range=input_range, mean=mean, std=std)
    prepared = prepare(reference.model, input, output)
    module = convert(prepared, input)
    parity = check_parity(module, reference.session, input, output, prepared, seed=0)
    return Teacher(
        file,
        input,
        output,
        prepared,
        module,
        reference.session,
        parity,
        # Weights may be computed from a few numbers; then the folded graph says what there is.
        max(parameter_count(file.model), parameter_count(prepared.body)),
        operator_counts(file.model),
        traits(file.model),
        reference.runnable(file),
        reference.changes,
        (*prepared.notes, module.way),
        reference.remark,
    )
