"""One run: a teacher, a student, an arm, a budget, a seed; and what real data say of the result."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from arms import ARMS, PUBLISHED, REAL, RealSamples
from machine import machine
from real_data import known_range, real_data
from shapes import SHAPES

from cake_onnx.config import Config
from cake_onnx.graph.runtime import open_session, scores
from cake_onnx.graph.trainable import count_weights
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.pipeline import export
from cake_onnx.progress import Progress
from cake_onnx.students import Student
from cake_onnx.teacher import Teacher, load_teacher

#: Images that choices between variants may look at; the rest is for reporting.
CHOOSING = 2000
COLUMNS = (
    "row", "arm", "variant", "rounds", "seed", "passes", "seconds", "student", "parameters_teacher",
    "parameters_student", "accuracy_teacher", "agreement_choosing", "accuracy_choosing", "agreement_rest",
    "accuracy_rest", "agreement", "accuracy", "n", "settings", "device", "processor", "cores", "torch",
    "cake_onnx",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One line of the CSV to be."""

    row: str
    arm: str
    variant: str
    rounds: int
    seed: int
    device: str
    settings: tuple[str, ...]
    teachers: Path
    data: Path
    entry: dict[str, Any]
    student: str
    compression: float

    KEY: ClassVar[tuple[str, ...]] = ("row", "arm", "variant", "rounds", "seed")

    def key(self) -> tuple[str, ...]:
        """What tells this line from others."""
        return tuple(str(getattr(self, name)) for name in self.KEY)


@dataclass(frozen=True)
class Taught:
    """A student that has been taught, and what both say of the real data.

    Attributes:
        teacher: Its teacher.
        student: What learnt.
        model: The student's ONNX file.
        passes: Teacher passes.
        seconds: Of the training.
        device: Where it was trained, in words.
        wanted: `(N,)` classes that the teacher sees.
        given: `(N,)` classes that the student sees, in onnxruntime.
        y: `(N,)` true classes.
    """

    teacher: Teacher
    student: Student
    model: bytes
    passes: int
    seconds: float
    device: str
    wanted: npt.NDArray[np.int64]
    given: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]


Build = Callable[[Teacher, Job, Config], Student]
"""How the student of a job comes about."""


def teach(job: Job, build: Build | None = None) -> Taught:
    """Train a student, export it and let onnxruntime classify the real data with it."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    config = Config(
        seed=job.seed,
        device=job.device,
        compression=job.compression,
        method="paper" if job.arm in PUBLISHED else "rounds",
        student="auto" if job.student in SHAPES else job.student,
        **known_range(job.entry),
    )
    teacher = load_teacher(job.teachers / job.entry["file"], config.input_range, config.mean, config.std)
    x, y = real_data(job.entry, job.data, teacher.input.shape)
    student = (build or _student)(teacher, job, config)
    lesson, _ = prepare_lesson(teacher, student, config)
    if job.arm == REAL:
        lesson = replace(lesson, prior=RealSamples(x[: _choosing(len(x))], lesson.prior))
    start = time.perf_counter()
    training = ARMS[job.arm](teacher, lesson, job.rounds, job.settings, _teller(job))
    seconds = time.perf_counter() - start
    wanted = decisions_in_torch(lesson.teacher, x, lesson.device.torch_device)
    model, _ = export(teacher, student)
    given = _decisions_in_onnxruntime(model, teacher, x)
    return Taught(
        teacher, student, model, int(training.passes), seconds, _device(lesson.device), wanted, given, y
    )


def measure(job: Job) -> dict[str, Any]:
    """One line of the CSV."""
    return {name: getattr(job, name) for name in Job.KEY} | measured(job, teach(job))


def measured(job: Job, taught: Taught) -> dict[str, Any]:
    """What became of a run."""
    wanted, given = taught.wanted, taught.given
    return {
        "passes": taught.passes, "seconds": round(taught.seconds, 1), "student": taught.student.family,
        "parameters_teacher": taught.teacher.parameters, "parameters_student": parameters(taught.student),
        "accuracy_teacher": round(float(np.mean(wanted == taught.y)), 4),
        **_shares("agreement", wanted == given), **_shares("accuracy", given == taught.y),
        "n": len(taught.y), "settings": " ".join(job.settings), "device": taught.device, **machine(),
    }  # fmt: skip


def parameters(student: Student) -> int:
    """Numbers that its weights hold."""
    return count_weights(student.module)


def _student(teacher: Teacher, job: Job, config: Config) -> Student:
    if job.student not in SHAPES:
        return choose_student(teacher, config)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(job.seed)
        module = SHAPES[job.student](teacher.input, teacher.output.classes)
    return Student(module, job.student, count_weights(module), "a published shape")


def decisions_in_torch(
    module: Callable[[torch.Tensor], torch.Tensor], x: npt.NDArray[np.float32], device: torch.device
) -> npt.NDArray[np.int64]:
    """The classes `(N,)` that a network in float32 sees in `(N, *shape)`."""
    with torch.no_grad():
        parts = [module(torch.from_numpy(batch).to(device)).argmax(1).cpu() for batch in _batches(x)]
    decided: npt.NDArray[np.int64] = torch.cat(parts).numpy()
    return decided


def _decisions_in_onnxruntime(
    model: bytes, teacher: Teacher, x: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    session = open_session(model)
    parts = [scores(session, teacher.input, teacher.output, batch) for batch in _batches(x)]
    decided: npt.NDArray[np.int64] = np.concatenate(parts).argmax(1)
    return decided


def _batches(x: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    return [x[i : i + 250] for i in range(0, len(x), 250)]


def _shares(name: str, hits: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Over the images for choosing, over the rest (empty where there is none) and over all."""
    split = _choosing(len(hits))
    parts = {"_choosing": hits[:split], "_rest": hits[split:], "": hits}
    return {name + ending: round(float(part.mean()), 4) for ending, part in parts.items()}


def _choosing(n: int) -> int:
    return CHOOSING if n > CHOOSING else n // 2


def _device(device: Any) -> str:
    name = str(device)
    return name if device.torch_device.type == "cpu" else f"{torch.cuda.get_device_name()}, {name}"


def _teller(job: Job) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        if progress.total and progress.done % max(1, progress.total // 4) == 0:
            label = f"{job.row} {job.arm} {job.variant} {job.rounds} seed {job.seed}"
            print(
                f"  {label}: {progress.stage} {progress.done}/{progress.total} {progress.note}",
                file=sys.stderr,
                flush=True,
            )

    return tell
