from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]
Mapped = Callable[..., None]


def _scalar(value: int) -> np.ndarray[Any, Any]:
    return np.array(value, dtype=np.int64)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("inverse", [0, 1])
def test_both_ways(
    opset: int, parts: int, inverse: int, compare: Compare, draw: Draw, mapped: Mapped
) -> None:
    x = draw(3, 10, parts)
    for length in ((), (_scalar(7),), (_scalar(16),)):
        compare("DFT", x, *length, opset=opset, inverse=inverse)
    mapped("DFT", x, opset=opset, inverse=inverse)


@pytest.mark.parametrize("opset", [17, 20])
def test_half_a_spectrum(opset: int, compare: Compare, draw: Draw, mapped: Mapped) -> None:
    for length in ((), (_scalar(7),), (_scalar(16),)):
        compare("DFT", draw(3, 10, 1), *length, opset=opset, onesided=1)
    # For odd and for longer lengths onnxruntime departs from the specification and from numpy.
    for length in ((), (_scalar(8),)):
        compare("DFT", draw(3, 6, 2), *length, opset=opset, onesided=1, inverse=1)
    mapped("DFT", draw(3, 10, 1), opset=opset, onesided=1)
    mapped("DFT", draw(3, 6, 2), opset=opset, onesided=1, inverse=1)


def test_half_a_spectrum_of_complex_numbers(parse: Callable[..., ModelProto], draw: Draw) -> None:
    """onnxruntime refuses it, though the one-sided result is the first half of the other."""
    text = "g (float[B, 10, 2] x) => (float[B, 6, 2] y) { y = DFT<onesided = 1>(x) }"
    x = draw(3, 10, 2)
    wanted = np.fft.fft(x[..., 0] + 1j * x[..., 1], axis=1)[:, :6]
    found = convert_graph(parse(text))(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found[..., 0] + 1j * found[..., 1], wanted, rtol=1e-4, atol=1e-4)


def test_axes(compare: Compare, draw: Draw) -> None:
    for axis in (0, 1, 2, -2, -3):
        compare("DFT", draw(2, 4, 6, 1), opset=17, axis=axis)
        compare("DFT", draw(2, 4, 6, 2), None, _scalar(axis), opset=20)
    compare("DFT", draw(2, 4, 6, 1), opset=17)
    compare("DFT", draw(2, 4, 6, 1), opset=20)


@pytest.mark.parametrize(("parts", "onesided"), [(1, 1), (1, 0), (2, 0)])
def test_frames(parts: int, onesided: int, compare: Compare, draw: Draw, mapped: Mapped) -> None:
    x, window = draw(2, 32, parts), np.abs(draw(8))
    compare("STFT", x, _scalar(4), window, onesided=onesided)
    compare("STFT", x, _scalar(4), window, _scalar(8), onesided=onesided)
    compare("STFT", x, _scalar(5), None, _scalar(9), onesided=onesided)
    mapped("STFT", x, _scalar(4), window, onesided=onesided)


def test_what_is_computed_is_declined(parse: Callable[..., ModelProto]) -> None:
    text = "g (float[B, 8, 1] x) => (float[B, N, M, 2] y) { s = Size(x)\n y = STFT(x, s) }"
    with pytest.raises(UnsupportedTeacherError, match="a computed frame step"):
        convert_graph(parse(text))
