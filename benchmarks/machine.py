"""What every measurement depends on, for the last columns of a CSV."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

import torch

from cake_onnx.devices import fast_in_bfloat16, processor_name


def machine() -> dict[str, Any]:
    """Processor and versions."""
    return {
        "processor": processor(), "cores": os.cpu_count(), "torch": version("torch"),
        "cake_onnx": version("cake-onnx"),
    }  # fmt: skip


def processor() -> str:
    """Its name, and what it computes with where that is less than AVX-512 and a fast bfloat16."""
    name, widest = processor_name(), torch.backends.cpu.get_cpu_capability()
    if widest != "AVX512":
        return f"{name} ({widest})"
    return name if fast_in_bfloat16(torch.cpu.get_capabilities()) else f"{name} (no AMX)"


def device_name(device: torch.device) -> str:
    """What a device calls itself; `cpu`, whose name is the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
