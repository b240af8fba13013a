"""From a teacher and the options to what a method works on."""

from __future__ import annotations

import logging
from dataclasses import replace

from cake_onnx.config import Config
from cake_onnx.devices import choose_precision, find_device, generator
from cake_onnx.errors import UnsupportedTeacherError, UsageError
from cake_onnx.methods.training import Lesson
from cake_onnx.priors import ValueRange, build_prior
from cake_onnx.ranks import ranks
from cake_onnx.students import Student, build_student
from cake_onnx.students.like_teacher import NAME, grow_down
from cake_onnx.teacher import Teacher

_log = logging.getLogger(__name__)


def choose_student(teacher: Teacher, config: Config) -> Student:
    """The teacher grown down, or the largest network of a family, at the size that was asked for.

    Raises:
        UsageError: It cannot be that small, or a family cannot take this input.
        UnsupportedTeacherError: `like-teacher` was asked for, and the graph cannot be narrowed.
    """
    target = int(teacher.parameters / config.compression)
    why_not = ""
    if config.student == NAME:
        return _grown_down(teacher, target, "asked for by name")
    if config.student == "auto" and config.method == "rounds":
        try:
            return _grown_down(teacher, target, "the teacher's own graph can be narrowed")
        except (UnsupportedTeacherError, UsageError) as error:
            why_not = f"; the teacher's own graph was not taken: {error.found}"
    student = build_student(
        config.student,
        teacher.input,
        teacher.output.classes,
        target,
        teacher.traits,
        config.seed,
        teacher.parameters,
    )
    return replace(student, reason=student.reason + why_not)


def _grown_down(teacher: Teacher, target: int, reason: str) -> Student:
    module = grow_down(teacher.prepared, teacher.input, target)
    return Student(module, NAME, target, reason, target)


def prepare_lesson(teacher: Teacher, student: Student, config: Config) -> tuple[Lesson, str]:
    """Put both networks on the device, choose prior and precision; also why the prior was taken."""
    together = ranks()
    device = find_device(config.device, together)
    prior, reason = build_prior(config.prior, teacher.input, teacher.module)
    sample = prior.draw(256, generator(config.seed, "precision")).to(device)
    module = teacher.module.to(device)
    lesson = Lesson(
        teacher=module,
        student=student.module.to(device),
        prior=prior,
        bounds=ValueRange.of(teacher.input, device),
        shape=teacher.input.shape,
        classes=teacher.output.classes,
        device=choose_precision(device, module, sample, exact=teacher.quantised),
        seed=config.seed,
        shrink_to=student.shrink_to,
        ranks=together,
    )
    _log.info("student %s of %d parameters: %s", student.family, student.parameters, student.reason)
    _log.info("prior %s: %s", prior, reason)
    _log.info("torch on %s", lesson.device)
    return lesson, reason
