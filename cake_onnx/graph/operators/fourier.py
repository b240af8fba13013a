"""DFT and STFT, as audio classifiers have them in front. Complex numbers are a last axis of two."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cake_onnx.graph.operators.registry import Apply, Bound, DeclinedError, Node, operator


@operator("DFT", since=(17,))
def dft_17(node: Node) -> Bound:
    """ONNX DFT-17: the axis is an attribute, the one after the batch unless said."""
    return _bind_dft(node, int(node.attribute("axis", 1)))


@operator("DFT", since=(20,))
def dft_20(node: Node) -> Bound:
    """ONNX DFT-20: the axis is an input, the last of the signal unless given."""
    axis = _integer(node, 2, "axis")
    return _bind_dft(node, -2 if axis is None else axis)


def _bind_dft(node: Node, axis: int) -> Bound:
    options = {
        "length": _integer(node, 1, "length"),
        "axis": axis,
        "inverse": bool(node.attribute("inverse", 0)),
        "onesided": bool(node.attribute("onesided", 0)),
    }
    return node.bind(Apply(_dft, **options), 0)


def _integer(node: Node, index: int, what: str) -> int | None:
    """A constant scalar input, None where it is left out."""
    if not node.has(index):
        return None
    value = node.integers(index)
    if value is None:
        raise DeclinedError(f"a computed {what}")
    return value[0]


def _dft(x: Tensor, length: int | None, axis: int, inverse: bool, onesided: bool) -> Tensor:
    """`(..., 1 or 2)` to `(..., 2)`; the inverse of half a spectrum to `(..., 1)`."""
    dim = axis % x.dim()
    values = _as_complex(x)
    if onesided and inverse:
        signal: Tensor = torch.fft.irfft(values, n=length, dim=dim)
        return signal.unsqueeze(-1)
    if inverse:
        # Of real numbers torch.fft.ifft gives a lazily negated tensor, which vmap cannot map over.
        values = values if values.is_complex() else torch.complex(values, torch.zeros_like(values))
        return torch.view_as_real(torch.fft.ifft(values, n=length, dim=dim))
    return _spectrum(values, length, dim, onesided)


def _as_complex(x: Tensor) -> Tensor:
    return x[..., 0] if x.shape[-1] == 1 else torch.complex(x[..., 0], x[..., 1])


def _spectrum(values: Tensor, length: int | None, dim: int, onesided: bool) -> Tensor:
    if onesided and not values.is_complex():
        return torch.view_as_real(torch.fft.rfft(values, n=length, dim=dim))
    spectrum = torch.fft.fft(values, n=length, dim=dim)
    if onesided:
        spectrum = spectrum.narrow(dim, 0, spectrum.shape[dim] // 2 + 1)
    return torch.view_as_real(spectrum)


class _ShortTimeFourier(nn.Module):
    """Spectra of overlapping frames.

    Args:
        window: Weights of a frame `(L,)`; None weighs all alike.
        length: Samples of a frame; None takes the whole signal.
        step: Samples from one frame to the next.
        onesided: Give only the frequencies that are not mirrored.
    """

    window: Tensor | None

    def __init__(self, window: Tensor | None, length: int | None, step: int, onesided: bool) -> None:
        super().__init__()
        self.register_buffer("window", window)
        self.length = length
        self.step = step
        self.onesided = onesided

    def forward(self, signal: Tensor) -> Tensor:
        """`(B, T, 1 or 2)` to `(B, frames, frequencies, 2)`."""
        values = _as_complex(signal)
        frames = values.unfold(1, self.length or values.shape[1], self.step)
        return _spectrum(frames if self.window is None else frames * self.window, None, 2, self.onesided)


@operator("STFT", since=(17,))
def stft(node: Node) -> Bound:
    """ONNX STFT-17: of a signal without padding, frame after frame."""
    window, length = node.constant(2), _integer(node, 3, "frame length")
    if node.has(2) and window is None:
        raise DeclinedError("a computed window")
    if length is None and window is not None:
        length = window.numel()
    step = _integer(node, 1, "frame step")
    if not step:
        raise DeclinedError(f"frame_step={step}")
    return node.bind(_ShortTimeFourier(window, length, step, bool(node.attribute("onesided", 1))), 0)
