from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert, share_equal_tensors, trim_outputs, use_float32
from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.runtime import draw_inputs, open_session, probabilities, scores
from cake_onnx.graph.signature import read_signature

Parse = Callable[..., ModelProto]
MODELS = [
    "linear",
    "softmax_net",
    "sigmoid_net",
    "fixed_cnn",
    "binary_sklearn",
    "multi_sklearn",
    "quantised_net",
]


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_are_those_of_onnxruntime(name: str, request: pytest.FixtureRequest) -> None:
    model: ModelProto = request.getfixturevalue(name)
    found, output = read_signature(model)
    module = convert(prepare(model, found, output), found)
    x = draw_inputs(found, 9, seed=5)
    wanted = probabilities(scores(open_session(model.SerializeToString()), found, output, x), output.kind)
    logits = module(torch.from_numpy(x))
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.softmax(dim=1).numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_a_module_is_frozen_and_passes_a_gradient(softmax_net: ModelProto) -> None:
    found, output = read_signature(softmax_net)
    module = convert(prepare(softmax_net, found, output), found)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    x = torch.ones(2, 4, requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_whole_number_inputs_are_rounded_and_pass_a_gradient(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (uint8[B, 1, 2, 2] x) => (float[B, 3] y) {
             f = Cast<to = 1>(x)
             v = Flatten(f)
             y = MatMul(v, w)
        }""",
        w=draw(4, 3),
    )
    found, output = read_signature(model)
    module = convert(prepare(model, found, output), found)
    x = torch.full((1, 1, 2, 2), 3.4, requires_grad=True)
    torch.testing.assert_close(module(x), torch.full((1, 4), 3.0) @ torch.from_numpy(draw(4, 3)))
    (gradient,) = torch.autograd.grad(module(x)[0, 0], x)
    torch.testing.assert_close(gradient.flatten(), torch.from_numpy(draw(4, 3)[:, 0]))


def test_double_models_are_computed_in_float32(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        "g (double[B, 4] x) => (double[B, 3] y) { y = MatMul(x, w) }", w=draw(4, 3).astype(np.float64)
    )
    found, output = read_signature(model)
    x = draw(5, 4)
    found_logits = convert(prepare(model, found, output), found)(torch.from_numpy(x))
    np.testing.assert_allclose(found_logits.numpy(), x @ draw(4, 3), rtol=1e-4, atol=1e-5)
    assert use_float32(model).graph.initializer[0].data_type == TensorProto.FLOAT


@pytest.mark.parametrize(
    ("op", "domain", "words"),
    [
        ("Multinomial", "", r"Multinomial \(domain ai\.onnx, version 7\) in node 'the node'.*at random"),
        (
            "GreedySearch",
            "com.microsoft",
            r"GreedySearch \(domain com\.microsoft, version 1\).*not converted yet",
        ),
        (
            "Quant",
            "finn.custom",
            r"Quant \(domain finn\.custom, version 1\).*not an operator of ONNX.*function",
        ),
    ],
)
def test_an_operator_without_a_converter_is_named(
    op: str, domain: str, words: str, softmax_net: ModelProto
) -> None:
    found, output = read_signature(softmax_net)
    prepared = prepare(softmax_net, found, output)
    relu = prepared.body.graph.node[1]
    relu.op_type, relu.domain, relu.name = op, domain, "the node"
    with pytest.raises(UnsupportedTeacherError, match=words):
        convert(prepared, found)


def test_a_declined_use_of_an_operator_is_named(softmax_net: ModelProto) -> None:
    found, output = read_signature(softmax_net)
    prepared = prepare(softmax_net, found, output)
    prepared.body.graph.node[0].attribute.append(helper.make_attribute("mystery", 1))
    with pytest.raises(UnsupportedTeacherError, match="Gemm with the attribute mystery"):
        convert(prepared, found)


def test_a_weight_read_by_several_nodes_is_stored_once(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 4] y) {
             a = MatMul(x, w)
             b = Tanh(a)
             c = MatMul(b, w)
             d = Sub(c, bias)
             y = Mul(d, bias)
        }""",
        w=draw(4, 4),
        bias=draw(4),
    )
    found, output = read_signature(model)
    module = convert(prepare(model, found, output), found)
    assert _copies(module, (4, 4)) == (2, 1)
    assert _copies(module, (4,)) == (2, 1)
    # Moving to a device, or to another type, must not copy it once for each place.
    module.double()
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float64}
    assert _copies(module, (4, 4)) == (2, 1)
    assert _copies(module, (4,)) == (2, 1)


def _copies(module: torch.nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Places that hold a tensor of a shape, and tensors in memory."""
    places = [*module.named_buffers(remove_duplicate=False), *module.named_parameters(remove_duplicate=False)]
    found = [tensor.data_ptr() for _, tensor in places if tensor.shape == shape]
    return len(found), len(set(found))


def test_equal_weights_of_another_shape_or_type_stay_apart() -> None:
    module = torch.nn.Module()
    module.register_buffer("a", torch.zeros(4))
    module.register_buffer("b", torch.zeros(2, 2))
    module.register_buffer("c", torch.zeros(4, dtype=torch.int32))
    module.register_buffer("d", torch.zeros(4))
    module.register_buffer("single", torch.zeros((), dtype=torch.int64).expand(1))
    share_equal_tensors(module)
    kept = dict(module.named_buffers(remove_duplicate=False))
    assert [tuple(kept[name].shape) for name in "abcd"] == [(4,), (2, 2), (4,), (4,)]
    assert kept["a"] is kept["d"]
    assert kept["c"].dtype == torch.int32


def tensors_beside_buffers(module: torch.nn.Module) -> list[str]:
    """Tensors of modules that `.to(device)` would leave behind."""
    found = []
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            values = value.values() if isinstance(value, dict) and not key.startswith("_") else [value]
            options = vars(part).get("_options", {}).values() if key == "_options" else ()
            found += [f"{name}.{key}" for entry in (*values, *options) if isinstance(entry, torch.Tensor)]
    return found


@pytest.mark.parametrize("name", MODELS)
def test_every_constant_follows_the_module(name: str, request: pytest.FixtureRequest) -> None:
    model: ModelProto = request.getfixturevalue(name)
    found, output = read_signature(model)
    assert tensors_beside_buffers(convert(prepare(model, found, output), found)) == []


def test_outputs_nobody_reads_do_not_shift_the_batch(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 3] y) {
             d, mask = Dropout(x)
             y = MatMul(d, w)
        }""",
        w=draw(4, 3),
    )
    assert len(trim_outputs(model).graph.node[0].output) == 1
    found, output = read_signature(model)
    x = draw(5, 4)
    logits = convert(prepare(model, found, output), found)(torch.from_numpy(x))
    np.testing.assert_allclose(logits.numpy(), x @ draw(4, 3), rtol=1e-5, atol=1e-5)


def test_an_output_the_operator_must_have_stays_though_nobody_reads_it(parse: Parse) -> None:
    model = parse(
        """g (float[B, 4] x) => (float[B, 3] y) {
             y, places = TopK(x, k)
        }""",
        k=np.array([3], np.int64),
    )
    assert len(trim_outputs(model).graph.node[0].output) == 2


def test_half_weights_become_float32(linear: ModelProto) -> None:
    values = numpy_helper.to_array(linear.graph.initializer[0]).astype(np.float16)
    linear.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))
    stored = numpy_helper.to_array(use_float32(linear).graph.initializer[0])
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, values.astype(np.float32))


CONVERT_IN_A_PROCESS = """
import sys
from pathlib import Path
from cake_onnx.graph.convert import convert
from cake_onnx.graph.load import load_model
from cake_onnx.graph.prepare import prepare
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.export import export_student
import torch
model = load_model(Path(sys.argv[1])).model
spec, output = read_signature(model)
prepared = prepare(model, spec, output)
print(tuple(convert(prepared, spec)(torch.zeros(2, 4)).shape))
print(sys.modules.get("torchvision") is None)
student = torch.nn.Linear(4, 3)
print(len(export_student(student, model, prepared, spec, output, {})) > 100)
try:
    import torchvision
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("state", ["absent", "broken"])
def test_torchvision_is_not_needed(state: str, linear: ModelProto, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(linear.SerializeToString())
    if state == "broken":
        (tmp_path / "torchvision").mkdir()
        (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('no such operator')")
    else:
        # None in sys.modules is Python's own way to say that a module is not there.
        (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torchvision'] = None\n")
    path = os.pathsep.join([str(tmp_path), *(entry for entry in sys.path if entry), str(Path.cwd())])
    done = subprocess.run(
        [sys.executable, "-c", CONVERT_IN_A_PROCESS, str(tmp_path / "m.onnx")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert lines[0] == "(2, 3)"
    assert lines[1] == "True", "the stand-in is gone again"
    assert lines[2] == "True"
    assert lines[3] == ("RuntimeError" if state == "broken" else "ModuleNotFoundError")
