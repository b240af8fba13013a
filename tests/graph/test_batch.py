from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto

from cake_onnx.graph.batch import batch_axis, free_batch, symbolic_batch
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.wiring import dims_of


def _run(model: ModelProto, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = open_session(model.SerializeToString())
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


def test_a_fixed_batch_becomes_a_symbol(fixed_cnn: ModelProto) -> None:
    assert batch_axis(fixed_cnn) == 1
    freed = symbolic_batch(fixed_cnn)
    assert batch_axis(freed) == "batch"
    assert dims_of(freed.graph.output[0]) == ["batch", 3]


def test_an_own_symbol_is_kept(linear: ModelProto) -> None:
    assert batch_axis(symbolic_batch(linear)) == "B"


def test_reshapes_let_any_batch_through(fixed_cnn: ModelProto, draw: Callable[..., Any]) -> None:
    x = draw(5, 1, 6, 6)
    singles = np.concatenate([_run(fixed_cnn, x[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(_run(free_batch(fixed_cnn), x), singles, rtol=1e-5, atol=1e-5)


def test_a_reshape_with_an_open_axis_copies_the_batch(
    parse: Callable[..., ModelProto], draw: Callable[..., Any]
) -> None:
    model = parse(
        "g (float[1, 2, 3] x) => (float[1, 6] y) { y = Reshape(x, t) }", t=np.array([1, -1], dtype=np.int64)
    )
    x = draw(4, 2, 3)
    np.testing.assert_array_equal(_run(free_batch(model), x), x.reshape(4, 6))


def test_flatten_from_axis_zero_keeps_samples_apart(
    parse: Callable[..., ModelProto], draw: Callable[..., Any]
) -> None:
    model = parse("g (float[1, 2, 3] x) => (float[1, 6] y) { y = Flatten<axis = 0>(x) }")
    x = draw(4, 2, 3)
    np.testing.assert_array_equal(_run(free_batch(model), x), x.reshape(4, 6))
