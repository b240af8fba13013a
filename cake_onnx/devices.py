"""Where torch works and how: device, precision, threads, and generators that depend on nothing else."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cake_onnx.errors import UsageError
from cake_onnx.ranks import Ranks

#: Share of samples on which a lower precision must leave the teacher's decision as it is.
PRECISION_AGREEMENT = 0.97


@dataclass(frozen=True)
class Device:
    """A place to compute.

    Attributes:
        torch_device: For `.to`.
        autocast: Type that matrix products are done in, or None for float32 throughout.
    """

    torch_device: torch.device
    autocast: torch.dtype | None

    def __repr__(self) -> str:
        precision = (
            "float32" if self.autocast is None else str(self.autocast).removeprefix("torch.") + " autocast"
        )
        return f"{self.torch_device}, {precision}"

    def wrap(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        """A function that runs `module` in this precision and returns float32 logits `(B, K)`.

        Images are laid out channels-last: convolutions and poolings of small networks took a fifth to a
        third less processor time in it, in both precisions. No value changes by the layout of `module`.
        """
        kind, dtype = self.torch_device.type, self.autocast
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def run(x: Tensor) -> Tensor:
            if x.dim() == 4:
                x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast(kind, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                logits: Tensor = module(x)
            return logits.float()

        return run


def find_device(name: str, ranks: Ranks | None = None) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a torch device; several ranks take a GPU each.

    Raises:
        UsageError: The device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if ranks is not None and ranks.count > 1 and name.startswith("cuda"):
        if ":" in name:
            found = f"`{name}` for all {ranks.count} of them"
            raise UsageError("a GPU for every rank", found, "use `--device cuda`: each rank takes its own")
        name = f"cuda:{ranks.local}"
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if index >= count:
            raise UsageError(
                f"a GPU for `--device {name}`",
                f"{count} usable GPUs",
                "use `--device auto` or `--device cpu`",
            )
    return torch.device(name)


def choose_precision(device: torch.device, module: nn.Module, x: Tensor, exact: bool) -> Device:
    """Take bfloat16 autocast where the processor is fast at it and the teacher bears it.

    What a processor has is asked, never timed, so that two runs on one machine choose alike.

    Args:
        device: Where to run.
        module: The teacher.
        x: `(B, *shape)` inputs on `device` to compare decisions on.
        exact: The graph carries integers as floats (quantised), which 8 bits of mantissa would break.
    """
    plain = Device(device, None)
    capable = device.type == "cuda" or any(
        torch.cpu.get_capabilities().get(flag, False) for flag in ("avx512_bf16", "amx_bf16")
    )
    if exact or not capable:
        return plain
    fast = Device(device, torch.bfloat16)
    with torch.no_grad():
        same = fast.wrap(module)(x).argmax(1) == plain.wrap(module)(x).argmax(1)
    return fast if float(same.float().mean()) >= PRECISION_AGREEMENT else plain


def generator(seed: int, *path: object) -> torch.Generator:
    """A CPU generator that depends on `seed` and `path` alone, for example `("round", rank, index)`.

    A run that is resumed at round 7 therefore draws in round 7 what the uninterrupted run drew.
    """
    digest = hashlib.sha256(repr((seed, *path)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def processor_name() -> str:
    """What the processor calls itself."""
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    return str(name)
