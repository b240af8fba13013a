"""What one rank of a test does: everything `Ranks` offers, and a run that narrows its student.

Writes what came out as JSON into the folder that is its argument.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cake_onnx.config import Config
from cake_onnx.distill import Distillation
from cake_onnx.distill.apprentice import apprentice_for_rounds
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.rounds import train_in_rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.sharing import SharedCheckpoints
from cake_onnx.methods.training import Lesson
from cake_onnx.ranks import Ranks, join, leave, ranks
from cake_onnx.teacher import load_teacher
from tests.methods.conftest import Memory, network

SMALL = RoundSettings(samples=100, pool=500, bank=1000, distillation=Distillation(steps=4, batch=65))


def main() -> None:
    """Do it all."""
    folder, teacher = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    if "WORLD_SIZE" in os.environ:
        join(os.environ)
    together = ranks()
    found = {"exchanged": _exchanged(together), "step": _step(together), "worth": _worth(together, teacher)}
    found |= _trained(together, teacher)
    leave()
    found["threads"] = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    (folder / f"{together.rank}-of-{together.count}.json").write_text(json.dumps(found))


def _exchanged(together: Ranks) -> dict[str, Any]:
    own = str(together.rank).encode()
    mean = [torch.full((2, 2), float(together.rank)), torch.tensor(10.0 * together.rank)]
    together.average(mean, weight=1 + 2 * together.rank)
    return {
        "from_first": together.from_first(own + b"!").decode(),
        "to_first": [part.decode() for part in together.to_first(own)],
        "empty": len(together.from_first(b"")),
        "scatter": together.scatter([b"a", b"bc"]).decode(),
        "any": [together.any(together.rank == 1), together.any(False)],
        "shares": [together.share(n) for n in (1, 25, 256)],
        "mean": [mean[0].tolist(), mean[1].item()],
    }


def _step(together: Ranks) -> list[float]:
    """Weights after a step on a batch of 7, of which every rank has its share."""
    student, draw = network(5, 8), torch.Generator().manual_seed(1)
    x, labels = torch.randn(7, 3, generator=draw), torch.randn(7, 4, generator=draw)
    start = sum(replace(together, rank=r).share(7) for r in range(together.rank))
    mine = slice(start, start + together.share(7))
    apprentice = apprentice_for_rounds(student, student, Distillation(), together)
    loss, agreement = apprentice.learn(x[mine], labels[mine], rate=1e-2)
    weights = torch.cat([weight.detach().flatten() for weight in student.parameters()])
    return [loss.item(), agreement.item(), *weights.tolist()]


def _worth(together: Ranks, path: Path) -> list[float]:
    """What channels are worth by samples of which every rank has others."""
    lesson, draw = _lesson(path), torch.Generator().manual_seed(together.rank)
    apprentice = apprentice_for_rounds(lesson.student, lesson.student, Distillation(), together)
    return list(apprentice.weigh(lesson.prior.draw(20, draw), draw).values())


def _trained(together: Ranks, path: Path) -> dict[str, Any]:
    place = Memory(every=5)
    lesson = _lesson(path)
    kept = SharedCheckpoints(place, together)
    training = train_in_rounds(lesson, 12, checkpoints=kept, settings=SMALL)
    again = _lesson(path)
    train_in_rounds(again, 12, checkpoints=kept, settings=SMALL)  # from the checkpoint after round 10
    return {
        "weights": _digest(lesson.student.state_dict()),
        "resumed": _digest(again.student.state_dict()),
        "shapes": [list(weight.shape) for weight in lesson.student.parameters()],
        "passes": training.passes,
        "curve": [point.agreement for point in training.curve],
        "saved": sorted(place.state[0]) if place.state else [],
    }


def _lesson(path: Path) -> Lesson:
    config = Config(seed=3)
    teacher = load_teacher(path)
    return prepare_lesson(teacher, choose_student(teacher, config), config)[0]


def _digest(state: dict[str, Tensor]) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in state.values())).hexdigest()


if __name__ == "__main__":
    main()
