"""A student with its optimiser: one step of learning, losing channels, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from cake_onnx.distill.settings import Distillation, PublishedDistillation
from cake_onnx.errors import RunFailedError
from cake_onnx.losses import soft_label_loss
from cake_onnx.ranks import Ranks

Logits = Callable[[Tensor], Tensor]

_MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW remembers of every weight."""
_SIZE_OF_VECTORS = 0.1
"""What biases and scales are taken to measure: a bias may be 0, or as large as what it is added to."""
_LEAST_SIZE = 1e-3
"""What other weights measure at least, so that those which are 0 can learn; as Adafactor's."""


@runtime_checkable
class Shrinking(Protocol):
    """A student that can lose channels while it learns."""

    def weights(self) -> dict[str, nn.Parameter]:
        """What learns, by name; other parameters after every `shrink`."""
        ...

    def weigh(self, x: Tensor, generator: torch.Generator) -> dict[int, float]:
        """What every channel is worth now, on samples `(B, *shape)`."""
        ...

    def shrink(
        self,
        target: int,
        progress: float,
        importance: Mapping[int, float],
        moments: Sequence[Mapping[str, Tensor]],
    ) -> list[dict[str, Tensor]]:
        """Go `progress` of the way to `target` parameters; `moments` are cut as the weights are."""
        ...

    def graph_bytes(self) -> bytes:
        """The graph as it is now, for a checkpoint."""
        ...

    def install_bytes(self, data: bytes) -> None:
        """Take a graph back."""
        ...


class Apprentice:
    """A student with its optimiser: what a round changes and a checkpoint keeps.

    Args:
        module: `(B, *shape)` to `(B, K)`; trained in place.
        optimiser: Over the parameters of `module`.
        run: The module in the precision of the device.
        ranks: Those that teach copies of the module, and average what they learn at every step.
        relative: Whether rates are in units of the root mean square of each weight, of 0.1 for biases.
    """

    def __init__(
        self,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        run: Logits,
        ranks: Ranks | None = None,
        relative: bool = False,
    ) -> None:
        self.ranks = ranks or Ranks()
        self.module = module
        self.optimiser = optimiser
        self.run = run
        self.relative = relative

    @contextmanager
    def training(self, seed: int) -> Iterator[None]:
        """Batch normalisation takes the batch's statistics within the block, dropout drops, by `seed`.

        Elsewhere, as where samples are diffused, the student is as it will be exported.
        """
        places = {weight.device for weight in self.module.parameters() if weight.device.type == "cuda"}
        with torch.random.fork_rng(devices=list(places)):
            torch.manual_seed(seed)
            self.module.train()
            if self.relative:
                self._measure_weights()
            try:
                yield
            finally:
                self.module.eval()
        self.ranks.average(_statistics(self.module))

    def learn(
        self,
        x: Tensor,
        teacher: Tensor,
        rate: float,
        temperature: float = 1.0,
        momentum: float | None = None,
        aside: Callable[[], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One step on `(B, *shape)` with the teacher's logits `(B, K)`.

        Args:
            x: What the student sees.
            teacher: What it should say.
            rate: Learning rate of this step.
            temperature: T of the soft labels.
            momentum: Of this step, for SGD under a schedule; None leaves it as it is.
            aside: A further loss, a scalar, asked for once the student has seen `x`.

        Returns:
            Mean loss and the share of samples on which both decide alike, before the step, over all ranks;
            scalars that wait where the student is, since reading them would make a GPU idle (`means` does).
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("size", 1.0)
            if momentum is not None:
                group["momentum"] = momentum
        logits = self.run(x)
        loss = soft_label_loss(logits, teacher, temperature).mean()
        if aside is not None:
            loss = loss + aside()
        self.optimiser.zero_grad()
        loss.backward()
        loss, agreement = loss.detach(), (logits.argmax(1) == teacher.argmax(1)).float().mean()
        self.ranks.average([loss, agreement, *self._gradients()], weight=len(x))
        self.optimiser.step()
        return loss, agreement

    def _measure_weights(self) -> None:
        """Note how large the weights are, once a round: a run that goes on from there finds them alike."""
        groups = self.optimiser.param_groups
        sizes = torch.stack([group["params"][0].detach().square().mean().sqrt() for group in groups]).tolist()
        for group, size in zip(groups, sizes, strict=True):
            group["size"] = _SIZE_OF_VECTORS if _is_vector(group["params"][0]) else max(size, _LEAST_SIZE)

    def _gradients(self) -> list[Tensor]:
        weights = (weight for group in self.optimiser.param_groups for weight in group["params"])
        return [weight.grad for weight in weights if weight.grad is not None]

    def weigh(self, x: Tensor, generator: torch.Generator) -> dict[int, float]:
        """What every channel is worth, over the samples of all ranks.

        Args:
            x: `(B, *shape)` samples of this rank.
            generator: Of the weighing.
        """
        importance = self._shrinking().weigh(x, generator)
        worth = torch.tensor(list(importance.values()), dtype=torch.float64, device=x.device)
        self.ranks.average([worth], weight=len(x))
        return dict(zip(importance, worth.tolist(), strict=True))

    def shrink(self, target: int, progress: float, importance: Mapping[int, float]) -> None:
        """Narrow the student; the optimiser keeps what it knows of what is left.

        Args:
            target: Parameters at the end, at most.
            progress: Share of the way there that shall be behind us afterwards, (0, 1].
            importance: As `weigh` gave it.

        Raises:
            UsageError: It cannot be that small.
        """
        student = self._shrinking()
        known = {name: self.optimiser.state[weight] for name, weight in student.weights().items()}
        learnt = all(known.values())
        moments = (
            [{name: slots[slot] for name, slots in known.items()} for slot in _MOMENTS] if learnt else []
        )
        cut = student.shrink(target, progress, importance, moments)
        self._take_new_weights()
        if learnt:
            step = next(iter(known.values()))["step"]
            for name, weight in student.weights().items():
                values = zip(_MOMENTS, cut, strict=True)
                slots = {slot: torch.empty_like(weight).copy_(moment[name]) for slot, moment in values}
                self.optimiser.state[weight] = {"step": step.clone(), **slots}

    def _shrinking(self) -> Shrinking:
        if not isinstance(self.module, Shrinking):
            raise TypeError(f"{type(self.module).__name__} cannot lose channels")
        return self.module

    def _take_new_weights(self) -> None:
        """Let the optimiser work on the weights that the student has now; it forgets the others."""
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        group = self.optimiser.param_groups[0]
        self.optimiser = _adamw(self.module, group["lr"], group["weight_decay"], self.relative)

    def state(self) -> dict[str, Tensor]:
        """Weights and optimiser state as flat tensors, for a checkpoint."""
        tensors = {f"student.{name}": value for name, value in self.module.state_dict().items()}
        if isinstance(self.module, Shrinking):
            tensors["graph"] = torch.frombuffer(bytearray(self.module.graph_bytes()), dtype=torch.uint8)
        for index, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {
                f"optimiser.{index}.{name}": value for name, value in slots.items() if value is not None
            }
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        if isinstance(self.module, Shrinking):
            self.module.install_bytes(tensors["graph"].numpy().tobytes())
            self._take_new_weights()
        weights = {
            name.removeprefix("student."): value
            for name, value in tensors.items()
            if name.startswith("student.")
        }
        self.module.load_state_dict(weights)
        slots: dict[int, dict[str, Tensor]] = {}
        weights_in_order = [weight for group in self.optimiser.param_groups for weight in group["params"]]
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, slot = name.split(".", 2)
                weight = weights_in_order[int(index)]
                if value.shape == weight.shape:
                    # In the memory layout of the weight, or another loop with another rounding would run.
                    value = torch.empty_like(weight).copy_(value)
                slots.setdefault(int(index), {})[slot] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": slots})


def means(steps: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Mean loss and mean agreement of what `Apprentice.learn` gave at each step.

    Raises:
        RunFailedError: A loss is not finite.
    """
    losses, agreements = (torch.stack(values).tolist() for values in zip(*steps, strict=True))
    for loss in losses:
        if not math.isfinite(loss):
            raise RunFailedError(
                "a finite loss while the student learns",
                f"{loss}",
                "state the input's true range with `--input-range LO,HI`, or choose another `--student`",
            )
    return sum(losses) / len(losses), sum(agreements) / len(agreements)


def apprentice_for_rounds(
    module: nn.Module, run: Logits, settings: Distillation, ranks: Ranks | None = None
) -> Apprentice:
    """AdamW on all parameters of `module`."""
    optimiser = _adamw(module, settings.learning_rate, settings.weight_decay, settings.relative)
    return Apprentice(module, optimiser, run, ranks, settings.relative)


def _adamw(module: nn.Module, rate: float, decay: float, relative: bool) -> torch.optim.AdamW:
    """AdamW; where rates are relative every matrix has a group, and with it a rate, of its own."""
    weights = list(module.parameters())
    vectors = [weight for weight in weights if _is_vector(weight)]
    apart = [[weight] for weight in weights if not _is_vector(weight)]
    together = [*apart, vectors] if vectors else apart
    groups = [{"params": group} for group in together] if relative else weights
    # Fused is a tenth of the time of the default on a CPU, which goes through the weights one by one.
    return torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=True)


def _statistics(module: nn.Module) -> list[Tensor]:
    """What batch normalisations keep of the batches they saw."""
    return [value for name, value in module.named_buffers() if name.endswith(("running_mean", "running_var"))]


def _is_vector(weight: Tensor) -> bool:
    """Whether it has one real axis, as biases and scales have in any shape."""
    return weight.numel() == max(weight.shape, default=1)


def apprentice_as_published(module: nn.Module, run: Logits, settings: PublishedDistillation) -> Apprentice:
    """SGD with momentum on all parameters of `module`."""
    optimiser = torch.optim.SGD(
        module.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    return Apprentice(module, optimiser, run)
