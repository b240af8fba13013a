from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from cake_onnx.devices import (
    Device,
    choose_precision,
    fast_in_bfloat16,
    find_device,
    generator,
    keep_freed_memory,
    processor_name,
    samples_at_once,
    strides_over,
)
from cake_onnx.errors import UsageError

CPU = torch.device("cpu")
NO_GPU = not torch.cuda.is_available()


def stream(draw: torch.Generator) -> list[float]:
    return torch.rand(4, generator=draw).tolist()


def test_generators_depend_on_seed_and_path_alone() -> None:
    first = stream(generator(3, "round", 0, 7))
    torch.manual_seed(99)
    stream(generator(3, "round", 0, 6))
    assert stream(generator(3, "round", 0, 7)) == first


def test_generators_of_different_paths_differ() -> None:
    paths: list[tuple[object, ...]] = [
        (0,), (1,), (0, "round"), (0, "round", 0), (0, "round", 0, 0), (0, "round", 0, 1),
        (0, "round", 1, 0), (0, "set", 0, 0), (0, "1", 1), (0, 1, "1"), (2**63 - 1,),
    ]  # fmt: skip
    streams = {tuple(stream(generator(int(str(path[0])), *path[1:]))) for path in paths}
    assert len(streams) == len(paths)


def test_a_generator_is_no_function_of_the_global_seed() -> None:
    before = torch.get_rng_state()
    generator(0, "x")
    assert torch.equal(torch.get_rng_state(), before)


def test_cpu_is_always_there() -> None:
    assert find_device("cpu") == CPU
    assert find_device("auto").type in ("cpu", "cuda")


@pytest.mark.skipif(not NO_GPU, reason="a GPU is there")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_a_missing_gpu_is_told(name: str) -> None:
    with pytest.raises(UsageError, match=f"a GPU for `--device {name}`; found 0 usable GPUs.*--device cpu"):
        find_device(name)


@pytest.mark.skipif(NO_GPU, reason="needs a GPU")
def test_a_gpu_beyond_the_last_is_told() -> None:
    assert find_device("auto").type == "cuda"
    with pytest.raises(UsageError, match="usable GPUs"):
        find_device(f"cuda:{torch.cuda.device_count()}")


class Offset(nn.Module):
    """Decides by differences far smaller than its logits."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 5)
        self.layer.bias.data += offset

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x)
        return logits


@pytest.fixture
def bf16_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that says it is fast at bfloat16: any can compute it, only speed differs."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(300, 6, generator=generator(0))


@pytest.mark.usefixtures("bf16_processor")
def test_bfloat16_where_the_teacher_bears_it(inputs: Tensor) -> None:
    chosen = choose_precision(CPU, Offset(0.0), inputs, exact=False)
    assert chosen.autocast is torch.bfloat16
    assert repr(chosen) == "cpu, bfloat16 autocast"


@pytest.mark.usefixtures("bf16_processor")
def test_float32_where_bfloat16_breaks_the_teachers_decisions(inputs: Tensor) -> None:
    teacher = Offset(1000.0)
    rounded = Device(CPU, torch.bfloat16).wrap(teacher)(inputs)
    assert (rounded.argmax(1) == teacher(inputs).argmax(1)).float().mean() < 0.97
    chosen = choose_precision(CPU, teacher, inputs, exact=False)
    assert chosen == Device(CPU, None)
    assert repr(chosen) == "cpu, float32"


@pytest.mark.usefixtures("bf16_processor")
def test_float32_for_a_graph_that_carries_integers(inputs: Tensor) -> None:
    assert choose_precision(CPU, Offset(0.0), inputs, exact=True).autocast is None


@pytest.mark.parametrize(
    ("processor", "fast"),
    [
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"cpu_name": "Intel Xeon"}, False),
    ],
)
def test_which_processors_are_fast_in_bfloat16(processor: dict[str, object], fast: bool) -> None:
    assert fast_in_bfloat16(processor) is fast


def test_float32_on_a_processor_without_bfloat16(monkeypatch: pytest.MonkeyPatch, inputs: Tensor) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert choose_precision(CPU, Offset(0.0), inputs, exact=False).autocast is None


def test_wrap_computes_in_the_precision_and_returns_float32(inputs: Tensor) -> None:
    teacher = Offset(0.0)
    exact, rounded = (Device(CPU, dtype).wrap(teacher)(inputs) for dtype in (None, torch.bfloat16))
    assert exact.dtype == rounded.dtype == torch.float32
    assert torch.equal(exact, teacher(inputs))
    assert not torch.equal(rounded, exact)
    assert torch.equal(rounded, rounded.bfloat16().float())
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)


def test_gradients_pass_through_the_wrap(inputs: Tensor) -> None:
    moving = inputs.clone().requires_grad_()
    Device(CPU, torch.bfloat16).wrap(Offset(0.0))(moving).sum().backward()
    assert moving.grad is not None
    assert moving.grad.abs().sum() > 0


def test_the_processor_has_a_name() -> None:
    assert processor_name()


class Seen(nn.Module):
    """A network that notes how many samples it met at once."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3))
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        result: Tensor = self.net(x)
        return result


def test_parts_give_what_the_whole_gives() -> None:
    whole, parts = Seen(), Seen()
    x = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    given = []
    for network, part in ((whole, None), (parts, 4)):
        point = x.clone().requires_grad_()
        logits = Device(CPU, None, part).wrap(network)(point)
        logits.square().sum().backward()
        assert point.grad is not None
        given.append([logits, point.grad, *(weight.grad for weight in network.parameters())])
    for wanted, found in zip(*given, strict=True):
        torch.testing.assert_close(found, wanted)
    assert whole.sizes == [10]
    assert sorted(parts.sizes) == [2, 2, 4, 4, 4, 4]  # each part once more for the gradient
    with torch.no_grad():
        torch.testing.assert_close(Device(CPU, None, 3).wrap(parts)(x), whole(x))
    assert repr(Device(CPU, None, 3)) == "cpu, float32, 3 samples at once"


def test_parts_are_only_for_what_does_not_fit() -> None:
    assert samples_at_once(CPU, 1000, 256) is None
    assert samples_at_once(CPU, 0, 256) is None
    few = samples_at_once(CPU, 1 << 28, 1 << 20)
    assert few is not None
    assert samples_at_once(CPU, 1 << 27, 1 << 20) in (2 * few, 2 * few + 1)
    assert samples_at_once(CPU, 1 << 60, 2) == 1


@pytest.mark.parametrize(("side", "expected"), [(1, True), (2, False), (9, False)])
def test_a_convolution_that_steps_beyond_its_image_is_seen(side: int, expected: bool) -> None:
    network = nn.Sequential(nn.Identity(), nn.Conv2d(1, 2, 3, stride=2, padding=1))
    assert strides_over(network, torch.zeros(5, 1, side, side)) is expected


GLIBC = platform.libc_ver()[0] == "glibc"
HEAP = """
import ctypes, sys
from cake_onnx.devices import keep_freed_memory
class Info(ctypes.Structure):  # struct mallinfo, from malloc.h
    _fields_ = [(name, ctypes.c_int) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks "
                "fordblks keepcost".split()]
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes, libc.mallinfo.restype = ctypes.c_void_p, [ctypes.c_void_p], Info
if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = libc.mallinfo()
block = libc.malloc(20 << 20)
apart = libc.mallinfo().hblks - before.hblks
libc.free(block)
print(apart, (libc.mallinfo().fordblks - before.fordblks) >> 20)
"""


def heap(word: str) -> tuple[int, int]:
    """Mappings of their own that 20 MB needed, and MB that wait for their next use once they are freed."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", HEAP, word], env=plain, check=True, capture_output=True, text=True
    )
    mapped, kept = map(int, done.stdout.split())
    return mapped, kept


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
def test_freed_memory_is_kept() -> None:
    assert heap("as it is") == (1, 0)
    mapped, kept = heap("keep")
    assert mapped == 0
    assert kept > 10


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
def test_who_has_chosen_how_memory_is_kept_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    assert not keep_freed_memory()


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    assert not keep_freed_memory()
