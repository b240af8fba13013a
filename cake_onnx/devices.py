"""Where torch works and how: device, precision, threads, and generators that depend on nothing else."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cake_onnx.errors import UsageError
from cake_onnx.ranks import Ranks

#: Share of samples on which a lower precision must leave the teacher's decision as it is.
PRECISION_AGREEMENT = 0.97
_SHARE = 0.4
"""Of the memory; weights, samples and what the libraries hold need the rest."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, from malloc.h."""
_LARGEST = (1 << 30, 32 << 20)
"""Bytes up to which memory is kept: what is wanted, and what an older glibc accepts."""


@dataclass(frozen=True)
class Device:
    """A place to compute.

    Attributes:
        torch_device: For `.to`.
        autocast: Type that matrix products are done in, or None for float32 throughout.
        part: Most samples whose intermediate results fit into memory together, or None for any number.
    """

    torch_device: torch.device
    autocast: torch.dtype | None
    part: int | None = None

    def __repr__(self) -> str:
        precision = (
            "float32" if self.autocast is None else str(self.autocast).removeprefix("torch.") + " autocast"
        )
        parts = "" if self.part is None else f", {self.part} samples at once"
        return f"{self.torch_device}, {precision}{parts}"

    def wrap(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        """A function that runs `module` in this precision and returns float32 logits `(B, K)`.

        Images are laid out channels-last: convolutions and poolings of small networks took a fifth to a
        third less processor time in it, in both precisions. No value changes by the layout of `module`.
        """
        kind, dtype = self.torch_device.type, self.autocast
        layout = torch.contiguous_format if strides_over_points(module) else torch.channels_last
        module.to(memory_format=layout)  # type: ignore[call-overload]

        def run(x: Tensor) -> Tensor:
            if x.dim() == 4:
                x = x.contiguous(memory_format=layout)
            with torch.autocast(kind, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                logits: Tensor = module(x)
            return logits.float()

        return self.fitting(run)

    def fitting(self, run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """`run`, in parts where a whole batch does not fit."""
        return run if self.part is None else in_parts(run, self.part)


def in_parts(run: Callable[[Tensor], Tensor], size: int) -> Callable[[Tensor], Tensor]:
    """`run` with the intermediate results of at most `size` samples in memory.

    What the gradient needs of one part is computed anew when its turn comes, so a step takes a third longer.
    Nothing that runs here depends on who else is in a batch, so values stay as they are.
    """

    def run_in_parts(x: Tensor) -> Tensor:
        if len(x) <= size:
            return run(x)
        if not torch.is_grad_enabled():
            return torch.cat([run(part) for part in x.split(size)])
        return torch.cat([checkpoint(run, part, use_reentrant=False) for part in x.split(size)])

    return run_in_parts


def samples_at_once(device: torch.device, bytes_each: int, most: int) -> int | None:
    """How many samples fit into `_SHARE` of the memory of a device, None where `most` of them do.

    The size of the memory is asked, not what is free of it, so that two runs on one machine choose alike.

    Args:
        device: Where they shall fit.
        bytes_each: Intermediate results of one sample.
        most: The largest batch of the run.
    """
    if device.type == "cuda":
        total = torch.cuda.mem_get_info(device)[1]
    elif hasattr(os, "sysconf"):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    else:
        return None
    fitting = max(1, int(_SHARE * total / max(1, bytes_each)))
    return None if fitting >= most else fitting


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


def choose_precision(
    device: torch.device, module: nn.Module, x: Tensor, exact: bool, part: int | None = None
) -> Device:
    """Take bfloat16 autocast where the processor is fast at it and the teacher bears it.

    What a processor has is asked, never timed, so that two runs on one machine choose alike.

    Args:
        device: Where to run.
        module: The teacher.
        x: `(B, *shape)` inputs on `device` to compare decisions on.
        exact: Stay in float32: the graph carries integers as floats (quantised), which 8 bits of mantissa
            would break, or it is so small that nothing is to be gained.
        part: Most samples at once.
    """
    plain = Device(device, None, part)
    if exact or not (device.type == "cuda" or fast_in_bfloat16(torch.cpu.get_capabilities())):
        return plain
    fast = Device(device, torch.bfloat16, part)
    with torch.no_grad():
        same = fast.wrap(module)(x).argmax(1) == plain.wrap(module)(x).argmax(1)
    return fast if float(same.float().mean()) >= PRECISION_AGREEMENT else plain


def fast_in_bfloat16(processor: Mapping[str, Any]) -> bool:
    """Whether a processor multiplies faster in bfloat16 than in float32.

    An Intel Xeon whose AMX units are hidden, as clouds rent them, still has the dot products of AVX-512,
    which are slower there than multiplying in float32: a step of ResNet-8 takes 1.1 times as long, one of a
    vision transformer 1.3 times (batches of 256, n = 7; docs/speed.md, Precision). On an AMD EPYC they are
    1.2 to 1.5 times faster.

    Args:
        processor: What `torch.cpu.get_capabilities` tells.
    """
    intel = str(processor.get("cpu_name", "")).startswith("Intel")
    return bool(processor.get("amx_bf16") or (processor.get("avx512_bf16") and not intel))


def strides_over(network: nn.Module, x: Tensor) -> bool:
    """Whether a padded convolution steps further than its image `(B, *shape)` is long.

    The gradient of such a convolution's weights reads memory that nobody wrote when oneDNN computes it in
    bfloat16 (seen with torch 2.13; a kernel of 3 with stride 2 on a map of 1 x 1). Deep networks for large
    images come to this on small ones.
    """
    found = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Conv2d):
            sides = zip(inputs[0].shape[2:], module.stride, strict=True)
            found.append(any(side < stride for side, stride in sides))

    hooks = [module.register_forward_pre_hook(look) for module in network.modules()]
    with torch.no_grad():
        network(x[:1])
    for hook in hooks:
        hook.remove()
    return any(found)


def strides_over_points(network: nn.Module) -> bool:
    """Whether torch's own convolution of single points strides: see `graph.convolution`, which is safe."""
    return any(
        type(each) is nn.Conv2d and each.kernel_size == (1, 1) and each.stride != (1, 1)
        for each in network.modules()
    )


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, for this process; gives whether it will.

    A pass frees all its intermediate results at its end. By default glibc hands such memory back to the
    system and asks for it again a moment later, page by page, which took 5 to 25% of the time of networks
    with large ones. Other libraries have no such switch. A process takes no more memory at its peak.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return False  # not there, or somebody has chosen already
    choose = ctypes.CDLL(None).mallopt
    kept = any(choose(_M_MMAP_THRESHOLD, size) for size in _LARGEST)
    return bool(kept and choose(_M_TRIM_THRESHOLD, 2**31 - 1))


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
