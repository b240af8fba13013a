"""What a family of students must keep, to be run in the tests of whoever offers one.

    from cake_onnx.students.conformance import check_family

    def test_it_keeps_the_contract():
        check_family(MyFamily())

A package offers a family by an entry point of the group `cake_onnx.students`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from cake_onnx.graph.export import check_export, export_student
from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.students.family import Family
from cake_onnx.students.sizing import parameters_at

_BOUNDS = Bounds((0.0,), (1.0,), "the conformance test", assumed=False)
INPUTS = (
    InputSpec("x", (1, 28, 28), "float32", "NCHW", _BOUNDS),
    InputSpec("x", (3, 32, 32), "float32", "NCHW", _BOUNDS),
    InputSpec("x", (32, 32, 3), "float32", "NHWC", _BOUNDS),
    InputSpec("x", (20,), "float32", "flat", _BOUNDS),
)
_CLASSES = 4
_WIDTHS = (0.0, 0.5, 1.0, 2.0)


def check_family(family: Family) -> None:
    """Build networks of a family for images and tables, and look at everything that is relied upon.

    Raises:
        AssertionError: Something is not as `Family` says; the message tells what.
    """
    taken = 0
    for input in INPUTS:
        why_not = family.unfit(input)
        assert why_not is None or why_not.strip(), "unfit gives a phrase, or None where the input fits"
        if why_not is None:
            taken += 1
            _check_input(family, input)
    assert taken, f"{family.name} takes none of {[input.shape for input in INPUTS]}"


def _check_input(family: Family, input: InputSpec) -> None:
    x = torch.rand(2, *input.shape, generator=torch.Generator().manual_seed(0))
    module = _network(family, input, 0.5)
    try:
        logits = module(x)
    except (RuntimeError, TypeError, ValueError) as error:
        raise AssertionError(f"{family.name} on {input.shape}: {type(error).__name__}: {error}") from error
    assert tuple(logits.shape) == (2, _CLASSES), f"logits of shape {tuple(logits.shape)}, not (2, {_CLASSES})"
    assert logits.dtype == torch.float32, f"logits of {logits.dtype}, not float32"
    logits.square().sum().backward()
    idle = [name for name, weight in module.named_parameters() if weight.grad is None]
    assert not idle, f"no gradient reaches {idle}"
    again = _network(family, input, 0.5)
    same = all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))
    assert same, "weights that depend on something else than torch's generator"
    counts = [parameters_at(family, input, _CLASSES, width) for width in _WIDTHS]
    assert counts == sorted(counts), f"parameters never fall as the width grows; found {counts}"
    assert counts[-1] > counts[0], f"more width makes it no larger: {counts}"
    _check_export(module, input)


def _network(family: Family, input: InputSpec, width: float) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return family.build(input, _CLASSES, width).eval()


def _check_export(module: nn.Module, input: InputSpec) -> None:
    """Under the ending of a teacher, compared with onnxruntime at batch 1 and 7."""
    flat = math.prod(input.shape)
    weights = np.zeros((flat, _CLASSES), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])],
        "teacher",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", *input.shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", _CLASSES])],
        [numpy_helper.from_array(weights, "w")],
    )
    teacher = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    read, output = read_signature(teacher)
    prepared = prepare(teacher, read, output)
    model = export_student(module, teacher, prepared, read, output, {})
    check_export(module, model, prepared, read, output)
