from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn

from cake_onnx.errors import RunFailedError
from cake_onnx.graph.check import check_parity
from cake_onnx.graph.convert import convert
from cake_onnx.graph.export import check_export, export_student
from cake_onnx.graph.prepare import Prepared, prepare
from cake_onnx.graph.runtime import draw_inputs, open_session
from cake_onnx.graph.signature import read_signature
from cake_onnx.graph.specs import InputSpec, OutputSpec

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


def _student(spec: InputSpec, output: OutputSpec) -> nn.Module:
    torch.manual_seed(0)
    width = int(np.prod(spec.shape))
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 5), nn.ReLU(), nn.Linear(5, output.classes))


def _export(
    model: ModelProto, metadata: dict[str, str] | None = None
) -> tuple[nn.Module, bytes, Prepared, InputSpec, OutputSpec]:
    spec, output = read_signature(model)
    prepared = prepare(model, spec, output)
    student = _student(spec, output)
    data = export_student(student, model, prepared, spec, output, metadata or {})
    return student, data, prepared, spec, output


def _signature(data: bytes) -> list[tuple[str, str, list[Any]]]:
    session = open_session(data)
    return [
        (value.name, value.type, value.shape) for value in [*session.get_inputs(), *session.get_outputs()]
    ]


@pytest.mark.parametrize("name", MODELS)
def test_a_student_is_a_drop_in(
    name: str, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    model: ModelProto = request.getfixturevalue(name)
    student, data, prepared, spec, output = _export(model)
    parity = check_export(student, data, prepared, spec, output)
    assert parity.max_abs_diff <= parity.tolerance
    wanted = _signature(model.SerializeToString())
    if name == "fixed_cnn":
        wanted = [(entry, kind, ["batch", *shape[1:]]) for entry, kind, shape in wanted]
    assert _signature(data) == wanted
    x = draw_inputs(spec, 1, seed=0)
    ours = open_session(data).run(None, {spec.name: x})
    theirs = open_session(model.SerializeToString()).run(None, {spec.name: x})
    assert [_structure(value) for value in ours] == [_structure(value) for value in theirs]
    assert capfd.readouterr() == ("", "")


def _structure(value: Any) -> Any:
    if isinstance(value, list):
        return [sorted(row) for row in value]
    return value.dtype, value.shape


def test_labels_and_maps_agree_with_the_student(multi_sklearn: ModelProto) -> None:
    student, data, _, spec, output = _export(multi_sklearn)
    x = draw_inputs(spec, 20, seed=3)
    labels, maps = open_session(data).run(None, {spec.name: x})
    with torch.no_grad():
        wanted = student(torch.from_numpy(x)).softmax(dim=1).numpy()
    assert output.class_names is not None
    assert list(labels) == [output.class_names[i] for i in wanted.argmax(axis=1)]
    found = np.array([[row[name] for name in output.class_names] for row in maps])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_same_student_gives_the_same_bytes(softmax_net: ModelProto) -> None:
    assert _export(softmax_net)[1] == _export(softmax_net)[1]


def test_metadata_is_kept_and_added(linear: ModelProto) -> None:
    for key, value in [("names", '["a"]'), ("cake_onnx.old", "1"), ("onnx.infer", "onnxruntime.quant")]:
        linear.metadata_props.add(key=key, value=value)
    model = onnx.load_from_string(_export(linear, {"teacher": "abc", "seed": "0"})[1])
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert found == {"names": '["a"]', "cake_onnx.teacher": "abc", "cake_onnx.seed": "0"}


def test_no_trace_of_where_it_was_made(softmax_net: ModelProto) -> None:
    softmax_net.graph.node[-1].doc_string = "train.py, line 12"
    data = _export(softmax_net)[1]
    model = onnx.load_from_string(data)
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert b".py" not in data
    assert model.doc_string == model.graph.doc_string == ""


@pytest.mark.parametrize(("opset", "expected"), [(9, 18), (17, 18), (18, 18), (20, 20), (21, 21)])
def test_the_opset_is_the_exporters_or_the_teachers(opset: int, expected: int, parse: Parse) -> None:
    # Opset 9 also asks for an older meaning of Softmax and Squeeze to be carried over.
    squeeze = "q = Squeeze<axes = [2]>(z)" if opset < 13 else "q = Squeeze(z, two)"
    model = parse(
        f"""g (float[B, 4] x) => (float[B, 4] p) {{
             z = Reshape(x, t)
             {squeeze}
             p = Softmax<axis = 1>(q)
        }}""",
        opset=opset,
        t=np.array([-1, 4, 1], dtype=np.int64),
        two=np.array([2], dtype=np.int64),
    )
    if opset < 13:
        del model.graph.initializer[1]
    student, data, prepared, spec, output = _export(model)
    assert onnx.load_from_string(data).opset_import[0].version == expected
    assert check_export(student, data, prepared, spec, output).top1_agreement == 1.0


@pytest.mark.parametrize("dtype", ["uint8", "double", "float16"])
def test_other_input_types_are_cast(dtype: str, parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        f"""g ({dtype}[B, 3, 2, 2] x) => (float[B, 3] y) {{
             f = Cast<to = 1>(x)
             v = Flatten(f)
             y = MatMul(v, w)
        }}""",
        w=draw(12, 3) / 100,
    )
    student, data, prepared, spec, output = _export(model)
    assert _signature(data) == _signature(model.SerializeToString())
    if dtype != "float16":
        assert check_export(student, data, prepared, spec, output).max_abs_diff < 1e-2


def test_a_double_score_output_stays_double(linear: ModelProto) -> None:
    values = numpy_helper.to_array(linear.graph.initializer[0]).astype(np.float64)
    linear.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))
    for value in (linear.graph.input[0], linear.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    student, data, prepared, spec, output = _export(linear)
    assert _signature(data)[1][1] == "tensor(double)"
    check_export(student, data, prepared, spec, output)


def test_scores_of_more_axes_keep_them(parse: Parse) -> None:
    model = parse("g (float[B, 5, 2, 2] x) => (float[B, 5, 1, 1] y) { y = GlobalAveragePool(x) }")
    student, data, prepared, spec, output = _export(model)
    assert _signature(data)[1][2] == ["B", 5, 1, 1]
    check_export(student, data, prepared, spec, output)


def test_tensor_names_of_teacher_and_student_do_not_meet(parse: Parse, draw: Callable[..., Any]) -> None:
    # The names that the exporter likes best, used by the teacher.
    model = parse(
        "g (float[B, 4] x) => (float[B, 3] raw) { relu = MatMul(x, w)\n raw = Softmax(relu) }", w=draw(4, 3)
    )
    student, data, prepared, spec, output = _export(model)
    check_export(student, data, prepared, spec, output)


def test_a_teacher_of_single_samples_gets_a_student_of_any_batch(
    parse: Parse, draw: Callable[..., Any]
) -> None:
    model = parse(
        """g (float[1, 4] x) => (float[1, 3] p) {
             t = Reshape(x, twice)
             u = Transpose<perm = [1, 0]>(t)
             v = Reshape(u, back)
             y = MatMul(v, w)
             s = Softmax<axis = 1>(y)
             p = Reshape(s, three)
        }""",
        twice=np.array([2, 2], dtype=np.int64),
        back=np.array([1, 4], dtype=np.int64),
        three=np.array([1, 3], dtype=np.int64),
        w=draw(4, 3),
    )
    student, data, prepared, spec, output = _export(model)
    assert prepared.fixed_batch == 1
    assert [shape for _, _, shape in _signature(data)] == [["batch", 4], ["batch", 3]]
    check_export(student, data, prepared, spec, output)


def test_a_half_precision_teacher(parse: Parse, draw: Callable[..., Any]) -> None:
    model = parse(
        "g (float16[B, 4] x) => (float16[B, 3] p) { y = MatMul(x, w)\n p = Softmax<axis = 1>(y) }",
        w=draw(4, 3).astype(np.float16),
    )
    _, data, prepared, spec, output = _export(model)
    assert _signature(data) == _signature(model.SerializeToString())
    session = open_session(model.SerializeToString())
    parity = check_parity(convert(prepared, spec), session, spec, output, prepared, seed=0)
    assert parity.top1_agreement > 0.9


def test_another_students_bytes_are_noticed(linear: ModelProto) -> None:
    _, data, prepared, spec, output = _export(linear)
    torch.manual_seed(7)
    other = nn.Sequential(nn.Flatten(), nn.Linear(4, output.classes))
    with pytest.raises(RunFailedError, match="exported student and torch within"):
        check_export(other, data, prepared, spec, output)


def test_a_student_that_cannot_be_exported_fails_with_a_message(linear: ModelProto) -> None:
    class Fickle(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :3] if float(x.sum()) > 0 else x[:, 1:]

    spec, output = read_signature(linear)
    prepared = prepare(linear, spec, output)
    with pytest.raises(RunFailedError, match="a student that torch exports"):
        export_student(Fickle(), linear, prepared, spec, output, {})


def test_the_student_is_left_as_it_was(linear: ModelProto) -> None:
    spec, output = read_signature(linear)
    prepared = prepare(linear, spec, output)
    student = _student(spec, output).train()
    export_student(student, linear, prepared, spec, output, {})
    assert student.training
    assert helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT) == np.float32
