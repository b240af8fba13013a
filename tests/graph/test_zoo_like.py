"""Graphs of the shapes that real exporters write, each from the file to a checked teacher.

The judge is onnxruntime on the bytes as written, one sample at a time; nothing of `graph.check` is used here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, helper, numpy_helper

from cake_onnx.graph.runtime import draw_inputs
from cake_onnx.graph.upgrade import upgrades
from cake_onnx.teacher import load_teacher

Array = np.ndarray[Any, Any]
Parse = Callable[..., ModelProto]


def _draw(*shape: int, scale: float = 0.5) -> Array:
    values = np.random.default_rng([7, *shape]).standard_normal(shape) * scale
    return np.asarray(values, dtype=np.float32)


def _ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


def cntk(parse: Parse) -> ModelProto:
    """Opset 8, IR 3: weights among the inputs, padding by name, biases of odd shapes, a baked batch of 1."""
    model = parse(
        """g (float[1, 1, 8, 8] x) => (float[1, 3] y) {
             c = Conv<auto_pad = "SAME_UPPER", kernel_shape = [3, 3], strides = [1, 1]>(x, k)
             p = Add(c, b)
             r = Relu(p)
             m = MaxPool<auto_pad = "VALID", kernel_shape = [2, 2], strides = [2, 2]>(r)
             f = Reshape(m, flat)
             v = Reshape(w, matrix)
             z = MatMul(f, v)
             y = Add(z, c3)
        }""",
        opset=8, ir=3, k=_draw(2, 1, 3, 3), b=_draw(2, 1, 1), flat=_ints(1, 32), w=_draw(2, 4, 4, 3),
        matrix=_ints(32, 3), c3=_draw(1, 3),
    )  # fmt: skip
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model.graph.name = "x"
    return model


def early_torch(parse: Parse) -> ModelProto:
    """Opset 6, a batch of 64, Gemm with broadcast, Dropout in test mode, BatchNormalization of two axes."""
    model = parse(
        """g (float[64, 6] x) => (float[64, 3] y) {
             h = Gemm<transB = 1>(x, w, b)
             u = Unsqueeze<axes = [2]>(h)
             n = BatchNormalization<is_test = 1>(u, gain, shift, mean, spread)
             s = Squeeze<axes = [2]>(n)
             r = Relu(s)
             d, mask = Dropout<is_test = 1>(r)
             z = Gemm<transB = 1>(d, w2, b2)
             y = LogSoftmax<axis = 1>(z)
        }""",
        opset=6, ir=4, w=_draw(8, 6), b=_draw(8), gain=_draw(8), shift=_draw(8), mean=_draw(8),
        spread=np.abs(_draw(8)) + 1, w2=_draw(3, 8), b2=_draw(3),
    )  # fmt: skip
    for node in model.graph.node:
        if node.op_type == "Gemm":
            node.attribute.append(helper.make_attribute("broadcast", 1))
    return model


def keras(parse: Parse) -> ModelProto:
    """NHWC behind a Transpose, the standard domain spelled out, nodes last to first."""
    model = parse(
        """g (float[N, 6, 6, 3] x) => (float[N, 4] p) {
             t = Transpose<perm = [0, 3, 1, 2]>(x)
             c = Conv(t, k, b)
             r = Relu(c)
             back = Transpose<perm = [0, 2, 3, 1]>(r)
             f = Reshape(back, flat)
             z = MatMul(f, w)
             p = Softmax(z)
        }""",
        opset=11, k=_draw(4, 3, 3, 3), b=_draw(4), flat=_ints(-1, 64), w=_draw(64, 4),
    )  # fmt: skip
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    model.opset_import[0].domain = "ai.onnx"
    return model


def torchscript(parse: Parse) -> ModelProto:
    """Equal weights shared through Identity, and a shape computed from the input."""
    return parse(
        """g (float[1, 2, 4, 4] x) => (float[1, 3] y) {
             b2 = Identity(b)
             c = Conv<pads = [1, 1, 1, 1]>(x, k, b)
             r = Relu(c)
             c2 = Conv<pads = [1, 1, 1, 1]>(r, k, b2)
             s = Shape(c2)
             n = Gather<axis = 0>(s, zero)
             u = Unsqueeze(n, first)
             t = Concat<axis = 0>(u, rest)
             f = Reshape(c2, t)
             y = Gemm<transB = 1>(f, w, c3)
        }""",
        k=_draw(2, 2, 3, 3), b=_draw(2), zero=np.array(0), first=_ints(0), rest=_ints(-1), w=_draw(3, 32),
        c3=_draw(3),
    )  # fmt: skip


def dynamo(parse: Parse) -> ModelProto:
    """Opset 20: allowzero on every Reshape, axes as inputs, the batch baked in."""
    return parse(
        """g (float[1, 3, 4, 4] x) => (float[1, 5] y) {
             c = Conv(x, k, b)
             a = Gelu<approximate = "tanh">(c)
             m = ReduceMean<keepdims = 1>(a, axes)
             f = Reshape<allowzero = 1>(m, target)
             n = LayerNormalization<axis = -1>(f, gain)
             y = Gemm<transB = 1>(n, w)
        }""",
        opset=20, ir=9, k=_draw(6, 3, 3, 3), b=_draw(6), axes=_ints(2, 3), target=_ints(1, 6),
        gain=_draw(6) + 1, w=_draw(5, 6),
    )  # fmt: skip


def paddle(parse: Parse) -> ModelProto:
    """Weights behind Constant and Cast nodes, a window larger than the image."""
    text = """g (float[N, 2, 4, 4] x) => (float[N, 2] y) {
             k = Cast<to = 1>(half)
             c = Conv(x, k)
             p = AveragePool<kernel_shape = [2, 2], ceil_mode = 1>(c)
             f = Flatten(p)
             y = MatMul(f, w)
        }"""
    model = parse(text, opset=13, half=_draw(3, 2, 3, 3).astype(np.float16))
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(_draw(3, 2)))
    model.graph.node.insert(0, constant)
    return model


def steps_first(parse: Parse) -> ModelProto:
    """A recurrent net with the batch on axis 1 and its first state made from the shape of the input."""
    return parse(
        """g (float[5, 7, 4] x) => (float[7, 3] y) {
             s = Shape(x)
             n = Gather<axis = 0>(s, one)
             u = Unsqueeze(n, first)
             t = Concat<axis = 0>(ones, u, hidden)
             h0 = ConstantOfShape(t)
             all, h, c = LSTM<hidden_size = 6>(x, w, r, , , h0, h0)
             o = Squeeze(all, ones)
             last = Gather<axis = 0>(o, end)
             y = Gemm<transB = 1>(last, v)
        }""",
        opset=14, one=np.array(1), first=_ints(0), ones=_ints(1), hidden=_ints(6), w=_draw(1, 24, 4),
        r=_draw(1, 24, 6), end=np.array(-1), v=_draw(3, 6),
    )  # fmt: skip


def vision_transformer(parse: Parse) -> ModelProto:
    """A class token of batch 1 and attention over a baked batch: nothing frees this one."""
    return parse(
        """g (float[1, 4, 6] x) => (float[1, 3] y) {
             e = Concat<axis = 1>(token, x)
             q = MatMul(e, wq)
             flat = Reshape(q, no_batch)
             turned = Transpose<perm = [1, 0]>(flat)
             a = MatMul(flat, turned)
             p = Softmax<axis = -1>(a)
             o = MatMul(p, flat)
             back = Reshape(o, with_batch)
             cls = Gather<axis = 1>(back, zero)
             y = MatMul(cls, w)
        }""",
        token=_draw(1, 1, 6), wq=_draw(6, 6), no_batch=_ints(5, 6), with_batch=_ints(1, 5, 6),
        zero=np.array(0), w=_draw(6, 3),
    )  # fmt: skip


def dynamic_int8(parse: Parse) -> ModelProto:
    """Weights of 8 bits, and a scale taken from every batch anew."""
    return parse(
        """g (float[N, 6] x) => (float[N, 4] y) {
             q, s, z = DynamicQuantizeLinear(x)
             i = MatMulInteger(q, w, z, wz)
             f = Cast<to = 1>(i)
             both = Mul(s, ws)
             r = Mul(f, both)
             y = Add(r, b)
        }""",
        opset=13, w=(_draw(6, 4) * 60).astype(np.int8), wz=np.array(3, np.int8),
        ws=np.array(0.01, np.float32), b=_draw(4),
    )  # fmt: skip


def qdq_int8(parse: Parse) -> ModelProto:
    """Quantise and dequantise around every layer, weights per channel."""
    return parse(
        """g (float[N, 6] x) => (float[N, 4] y) {
             q = QuantizeLinear(x, s, z)
             d = DequantizeLinear(q, s, z)
             w = DequantizeLinear<axis = 1>(wq, ws, wz)
             h = MatMul(d, w)
             hq = QuantizeLinear(h, s2, z2)
             y = DequantizeLinear(hq, s2, z2)
        }""",
        opset=13, s=np.array(0.02, np.float32), z=np.array(0, np.int8), wq=(_draw(6, 4) * 60).astype(np.int8),
        ws=np.full(4, 0.02, np.float32), wz=np.zeros(4, np.int8), s2=np.array(0.03, np.float32),
        z2=np.array(120, np.uint8),
    )  # fmt: skip


def half(parse: Parse) -> ModelProto:
    """float16 inside, float32 outside."""
    return parse(
        """g (float[N, 6] x) => (float[N, 3] y) {
             h = Cast<to = 10>(x)
             m = MatMul(h, w)
             r = Relu(m)
             z = MatMul(r, w2)
             y = Cast<to = 1>(z)
        }""",
        w=_draw(6, 8).astype(np.float16), w2=_draw(8, 3).astype(np.float16),
    )  # fmt: skip


def with_functions(parse: Parse) -> ModelProto:
    """A function of the file's own, twice."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
        g (float[N, 4] x) => (float[N, 3] y) {
             a = mine.silu(x)
             b = MatMul(a, w)
             y = mine.silu(b)
        }
        <domain: "mine", opset_import: ["" : 17]>
        silu (a) => (b) { s = Sigmoid(a) b = Mul(a, s) }"""
    )
    model.graph.initializer.append(numpy_helper.from_array(_draw(4, 3), "w"))
    return model


def with_labels(parse: Parse) -> ModelProto:
    """Probabilities, the label beside them, and features from inside."""
    return parse(
        """g (float[1, 6] x) => (int64[1] label, float[1, 3] p, float[1, 8] features) {
             h = Gemm(x, w)
             features = Relu(h)
             z = Gemm(features, w2)
             p = Softmax<axis = 1>(z)
             label = ArgMax<axis = 1, keepdims = 0>(z)
        }""",
        w=_draw(6, 8), w2=_draw(8, 3),
    )  # fmt: skip


def with_control(parse: Parse) -> ModelProto:
    """A branch that is always the same, and a loop of three steps."""
    return parse(
        """g (float[N, 4] x) => (float[N, 3] y) {
             a = If (always) <
               then_branch = t () => (float[N, 4] t1) { t1 = Tanh(x) },
               else_branch = e () => (float[N, 4] e1) { e1 = Relu(x) }
             >
             l = Loop (three, always, a) <body = step (int64 i, bool c, float[N, 4] h)
                 => (bool c2, float[N, 4] h2) {
               c2 = Identity(c)
               m = MatMul(h, turn)
               h2 = Tanh(m)
             }>
             y = MatMul(l, w)
        }""",
        always=np.array(True), three=np.array(3), turn=_draw(4, 4), w=_draw(4, 3),
    )  # fmt: skip


def pixels(parse: Parse) -> ModelProto:
    """Bytes in NHWC, scaled inside."""
    return parse(
        """g (uint8[N, 4, 4, 3] x) => (float[N, 3] y) {
             f = Cast<to = 1>(x)
             s = Div(f, full)
             t = Transpose<perm = [0, 3, 1, 2]>(s)
             c = Conv(t, k)
             m = GlobalMaxPool(c)
             v = Flatten(m)
             y = MatMul(v, w)
        }""",
        full=np.array(255, np.float32), k=_draw(4, 3, 3, 3), w=_draw(4, 3),
    )  # fmt: skip


def binarised(parse: Parse) -> ModelProto:
    """Signs between the layers."""
    return parse(
        """g (float[N, 6] x) => (float[N, 3] p) {
             h = MatMul(x, w)
             s = Sign(h)
             z = MatMul(s, w2)
             p = Softmax(z)
        }""",
        w=_draw(6, 8), w2=_draw(8, 3),
    )  # fmt: skip


EXACT = [
    cntk, early_torch, keras, torchscript, dynamo, paddle, steps_first, vision_transformer, half,
    with_functions, with_labels, with_control, pixels, binarised,
]  # fmt: skip
ROUNDED = [dynamic_int8, qdq_int8]
WAYS = {
    "vision_transformer": "one sample at a time (vmap)",
    "dynamic_int8": "one sample at a time (vmap)",
    "dynamo": "batch axis freed",
    "cntk": "batch axis freed",
    "keras": "any batch at once",
}


def _as_written(model: ModelProto, x: Array) -> Array:
    """Probabilities that the file gives to samples, one at a time, by onnxruntime."""
    too_old = any(entry.domain == "" and entry.version < 7 for entry in model.opset_import)
    runnable = next(upgrades(model)) if too_old else model
    session = onnxruntime.InferenceSession(runnable.SerializeToString())
    declared = session.get_inputs()[0]
    dtype = np.uint8 if "uint8" in declared.type else np.float32
    name = next(output.name for output in session.get_outputs() if output.shape[-1] in (2, 3, 4, 5))
    rows = []
    for sample in x.astype(dtype):
        batch_axis = 1 if declared.shape[0] == 5 else 0
        size = declared.shape[batch_axis] if isinstance(declared.shape[batch_axis], int) else 1
        fed = np.repeat(np.expand_dims(sample, batch_axis), size, axis=batch_axis)
        rows.append(session.run([name], {declared.name: fed})[0][0])
    said = torch.from_numpy(np.stack(rows))
    is_probability = bool(((said >= 0) & (said <= 1)).all()) and torch.allclose(
        said.sum(1), torch.ones(len(said))
    )
    return said.numpy() if is_probability else said.softmax(dim=1).numpy()


@pytest.mark.parametrize("build", [*EXACT, *ROUNDED], ids=lambda build: build.__name__)
def test_files_become_teachers(build: Callable[[Parse], ModelProto], parse: Parse, tmp_path: Path) -> None:
    model = build(parse)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    teacher = load_teacher(tmp_path / "m.onnx")
    x = draw_inputs(teacher.input, 5, seed=3)
    tolerance = 1e-2 if build in (*ROUNDED, half) else 1e-4
    point = torch.from_numpy(x).requires_grad_()
    logits = teacher.module(point)
    np.testing.assert_allclose(logits.softmax(dim=1).detach().numpy(), _as_written(model, x), atol=tolerance)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), point)
    assert bool(torch.isfinite(gradient).all())
    # All units of a small layer can be off for one sample.
    assert int((gradient.flatten(1).abs().sum(dim=1) > 0).sum()) >= len(x) - 1
    assert teacher.module.way == WAYS.get(build.__name__, teacher.module.way)


def test_weights_beside_the_file(parse: Parse, tmp_path: Path) -> None:
    onnx.save(
        keras(parse), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
    )
    assert (tmp_path / "m.data").stat().st_size > 0
    assert load_teacher(tmp_path / "m.onnx").parameters == 4 * 3 * 9 + 4 + 64 * 4
