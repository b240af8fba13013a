"""Samples as a file that other tools read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from safetensors.torch import save

from cake_onnx.bank import Samples
from cake_onnx.workspace.writing import write_atomically


def write_samples(path: Path, samples: Samples) -> None:
    """Write samples as `.npz` or `.safetensors`, by the ending of `path`."""
    found = {
        "x": samples.x.cpu().contiguous(),
        "logits": samples.logits.cpu().contiguous(),
        "label": samples.logits.argmax(1).cpu(),
        "wanted": samples.wanted.cpu().contiguous(),
    }
    if path.suffix == ".safetensors":
        write_atomically(path, save(found))
        return
    buffer = io.BytesIO()
    arrays = {name: tensor.numpy() for name, tensor in found.items()}
    np.savez(buffer, x=arrays["x"], logits=arrays["logits"], label=arrays["label"], wanted=arrays["wanted"])
    write_atomically(path, buffer.getvalue())
