"""From a teacher and the options to what a method works on."""

from __future__ import annotations

import logging

from cake_onnx.config import Config
from cake_onnx.devices import choose_precision, find_device, generator
from cake_onnx.methods.training import Lesson
from cake_onnx.priors import ValueRange, build_prior
from cake_onnx.students import Student, build_student
from cake_onnx.teacher import Teacher

_log = logging.getLogger(__name__)


def choose_student(teacher: Teacher, config: Config) -> Student:
    """The largest network of the family asked for with at most the teacher's size over the compression."""
    target = int(teacher.parameters / config.compression)
    return build_student(
        config.student,
        teacher.input,
        teacher.output.classes,
        target,
        teacher.traits,
        config.seed,
        teacher.parameters,
    )


def prepare_lesson(teacher: Teacher, student: Student, config: Config) -> tuple[Lesson, str]:
    """Put both networks on the device, choose prior and precision; also why the prior was taken."""
    device = find_device(config.device)
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
    )
    _log.info("student %s of %d parameters: %s", student.family, student.parameters, student.reason)
    _log.info("prior %s: %s", prior, reason)
    _log.info("torch on %s", lesson.device)
    return lesson, reason
