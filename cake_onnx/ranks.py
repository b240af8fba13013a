"""The processes of one `torchrun`: the share of each, what they tell each other, how they end together."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from cake_onnx.errors import RunFailedError

_PATIENCE = timedelta(hours=12)
"""Longest wait for another rank: the others wait while the first one judges on data of any size."""


class RankLostError(RunFailedError):
    """Another rank is gone; if it ended by an error of its own, that error is the one to tell."""


@dataclass(frozen=True)
class Ranks:
    """Where this process stands among those that work together; the default is a process on its own.

    With one rank everything here returns what it was given, and torch.distributed is not touched.

    Attributes:
        rank: Of this process, from 0.
        count: How many work together.
        local: Of this process among those of one machine: the index of its GPU.
        here: How many there are on this machine.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    here: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files, judges and speaks."""
        return self.rank == 0

    def share(self, n: int) -> int:
        """How many of `n` things this rank does; the shares of all ranks add up to `n`."""
        return n * (self.rank + 1) // self.count - n * self.rank // self.count

    def average(self, tensors: Sequence[Tensor], weight: float = 1.0) -> None:
        """Replace tensors of one device by their weighted mean over all ranks, in one exchange.

        Args:
            tensors: Of the same shapes on every rank; changed in place.
            weight: Of this rank, such as the number of samples behind its tensors.
        """
        if self.count == 1 or not tensors:
            return
        flat = torch.cat(
            [*(t.reshape(-1).float() * weight for t in tensors), tensors[0].new_tensor([weight])]
        )
        self._exchange(lambda: dist.all_reduce(flat))
        means = (flat[:-1] / flat[-1]).split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def any(self, said: bool) -> bool:
        """Whether any rank says so."""
        if self.count == 1:
            return said
        votes = torch.tensor([float(said)])
        self._exchange(lambda: dist.all_reduce(votes))
        return bool(votes > 0)

    def from_first(self, data: bytes) -> bytes:
        """What the first rank gives; what the others give does not matter."""
        for other in range(1, self.count):
            if self.first:
                self._send(data, other)
            elif other == self.rank:
                data = self._receive(0)
        return data

    def to_first(self, data: bytes) -> list[bytes]:
        """On the first rank what every rank gives, in their order; on the others nothing."""
        if not self.first:
            self._send(data, 0)
            return []
        return [data, *(self._receive(other) for other in range(1, self.count))]

    def scatter(self, parts: Sequence[bytes]) -> bytes:
        """This rank's part of what the first rank gives, one for each; the others give anything."""
        if not self.first:
            return self._receive(0)
        for other in range(1, self.count):
            self._send(parts[other], other)
        return parts[0]

    def _send(self, data: bytes, to: int) -> None:
        content = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0)
        self._exchange(lambda: dist.send(torch.tensor([len(data)]), to))
        if data:
            self._exchange(lambda: dist.send(content, to))

    def _receive(self, source: int) -> bytes:
        size = torch.zeros(1, dtype=torch.int64)
        self._exchange(lambda: dist.recv(size, source))
        content = torch.empty(int(size), dtype=torch.uint8)
        if len(content):
            self._exchange(lambda: dist.recv(content, source))
        return content.numpy().tobytes()

    def _exchange(self, act: Callable[[], object]) -> None:
        try:
            act()
        except RuntimeError as error:
            raise RankLostError(
                f"all {self.count} ranks to go on",
                f"one that does not answer ({_first_sentence(error)})",
                "look what became of it, then give the same command again to go on",
            ) from error


def program(ranks: Ranks) -> str:
    """The words that start this program on so many ranks."""
    if ranks.count == 1:
        return "cake-onnx"
    machines = "" if ranks.here == ranks.count else f" --nnodes {-(-ranks.count // ranks.here)}"
    return f"torchrun{machines} --nproc-per-node {ranks.here} -m cake_onnx"


def ranks() -> Ranks:
    """Where this process stands, by torch.distributed; one rank where no group was made."""
    if not (dist.is_available() and dist.is_initialized()):
        return Ranks()
    local, here = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return Ranks(dist.get_rank(), dist.get_world_size(), local, here)


def join(environment: Mapping[str, str]) -> None:
    """Meet the other ranks: over gloo on CPUs, over NCCL between the GPUs, one GPU for each rank.

    Raises:
        RunFailedError: They do not come together.
    """
    # Its functions take the group of the moment they are defined as their default, so if torch loads it later
    # (optimisers make it), the group outlives `leave`, and its threads may abort the process as it ends.
    import torch.distributed.nn.functional

    if torch.cuda.is_available() and int(environment.get("LOCAL_RANK", 0)) < torch.cuda.device_count():
        torch.cuda.set_device(int(environment.get("LOCAL_RANK", 0)))
    both = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise RunFailedError(
            f"{environment['WORLD_SIZE']} ranks to meet at {environment['MASTER_ADDR']}",
            _first_sentence(error),
            "start them with `torchrun --nproc-per-node N -m cake_onnx …`",
        ) from error


def leave() -> None:
    """Part from the other ranks, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def settle(code: int, environment: Mapping[str, str]) -> tuple[int, bool]:
    """Agree on how all ranks end after an error; a rank that fails says so before its connections close.

    Args:
        code: Exit code that the error of this rank asks for.
        environment: Of this process.

    Returns:
        The code of the rank that failed first, and whether that is this one, which then tells why.
    """
    own = f"{environment['RANK']}:{code}"
    try:
        address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        store = dist.TCPStore(address, port, None, False, timedelta(seconds=10))  # type: ignore[attr-defined]
        place = f"cake-onnx/failure/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        told = store.compare_set(place, "", own).decode()
    except RuntimeError:  # the one who kept the store has ended already; nothing can be agreed on
        return code, True
    return int(told.partition(":")[2]), told == own


def _first_sentence(error: Exception) -> str:
    """What went wrong, without the place in the source of torch and without advice."""
    return re.sub(r"^\[[^]]*\]\s*", "", str(error).strip()).splitlines()[0].partition(". ")[0]
