"""From a teacher and the options to what a method works on."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from torch import Tensor, nn

from cake_onnx.config import Config, flag_of
from cake_onnx.devices import choose_precision, find_device, generator, samples_at_once, strides_over
from cake_onnx.errors import UnsupportedTeacherError, UsageError
from cake_onnx.graph.cost import activation_bytes
from cake_onnx.graph.trainable import count_weights
from cake_onnx.methods.outside import student_of_factory, student_of_file, student_of_timm
from cake_onnx.methods.training import Lesson
from cake_onnx.priors import ImagePrior, ValueRange, build_prior
from cake_onnx.ranks import ranks
from cake_onnx.students import Student, build_student
from cake_onnx.students.like_teacher import NAME, LikeTeacher, grow_down
from cake_onnx.teacher import Teacher

_log = logging.getLogger(__name__)
_WEIGHED_ON = 64
"""Samples on which channels are weighed before anything is taught."""


def choose_student(teacher: Teacher, config: Config) -> Student:
    """The teacher grown down, or the largest network of a family, at the size that was asked for.

    Raises:
        UsageError: It cannot be that small, or a family cannot take this input.
        UnsupportedTeacherError: `like-teacher` was asked for, and the graph cannot be narrowed.
    """
    why_not, target = "", int(teacher.parameters / config.compression)
    if config.student_file is not None:
        return student_of_file(config.student_file, config.student_weights, teacher, config.seed)
    if config.student == NAME:
        return _grown_down(teacher, config, "asked for by name")
    if config.student == "auto" and config.method == "rounds":
        try:
            return _grown_down(teacher, config, "the teacher's own graph can be narrowed")
        except (UnsupportedTeacherError, UsageError) as error:
            if config.max_operations is not None or config.channel_block is not None:
                raise
            why_not = f"; the teacher's own graph was not taken: {error.found}"
    for name in ("max_operations", "channel_block"):
        if getattr(config, name) is not None:
            found = f"--student {config.student} with --method {config.method}"
            raise UsageError(f"a student grown down, for {flag_of(name)}", found, "leave it out")
    if config.student.startswith("timm:"):
        return student_of_timm(config.student.removeprefix("timm:"), teacher, config.seed)
    if config.own_student is not None:
        return student_of_factory(config.own_student, teacher, target, config.seed)
    student = build_student(
        config.student,
        teacher.input,
        teacher.output.classes,
        target,
        teacher.traits,
        config.seed,
        teacher.parameters,
        flattened_picture(teacher, config),
    )
    return replace(student, reason=student.reason + why_not)


def flattened_picture(teacher: Teacher, config: Config) -> tuple[int, int, int] | None:
    """Channels, height and width of the pictures that a teacher takes as flat values, if it does."""
    if teacher.input.image_shape is not None:
        return None
    prior, _ = build_prior(config.prior, teacher.input, teacher.module)
    return prior.image_shape if isinstance(prior, ImagePrior) else None


def _grown_down(teacher: Teacher, config: Config, reason: str) -> Student:
    graph, block = (teacher.prepared, teacher.input), config.channel_block
    if config.max_operations is None:
        target = int(teacher.parameters / config.compression)
        return Student(grow_down(*graph, target, block=block), NAME, target, reason, target)
    target = int(LikeTeacher(*graph, "operations").size * config.max_operations)
    module = grow_down(*graph, target, "operations", block)
    # Planned now, by what is the same in every run, since a candidate of these very widths has been timed.
    module.plan(target, weigh(module, teacher, config))
    return Student(module, NAME, teacher.parameters, reason, target)


def weigh(module: LikeTeacher, teacher: Teacher, config: Config) -> dict[int, float]:
    """What the channels of an untaught student are worth on samples of the prior."""
    prior, _ = build_prior(config.prior, teacher.input, teacher.module)
    draw = generator(config.seed, "candidate")
    return module.weigh(prior.draw(_WEIGHED_ON, draw), draw)


def prepare_lesson(teacher: Teacher, student: Student, config: Config) -> tuple[Lesson, str]:
    """Put both networks on the device, choose prior and precision; also why the prior was taken."""
    together = ranks()
    device = find_device(config.device, together)
    prior, reason = build_prior(config.prior, teacher.input, teacher.module)
    sample = prior.draw(256, generator(config.seed, "precision"))
    part = fitting_part(device, sample, teacher.module, student.module)
    exact = teacher.exact_on(device) or (device.type == "cpu" and strides_over(student.module, sample))
    module, sample = teacher.module.to(device), sample.to(device)
    lesson = Lesson(
        teacher=module,
        student=student.module.to(device),
        prior=prior,
        bounds=ValueRange.of(teacher.input, device),
        shape=teacher.input.shape,
        classes=teacher.output.classes,
        device=choose_precision(device, module, sample, exact=exact, part=part),
        seed=config.seed,
        shrink_to=student.shrink_to,
        ranks=together,
    )
    _log.info("student %s of %d parameters: %s", student.family, student.parameters, student.reason)
    _log.info("prior %s: %s", prior, reason)
    _log.info("torch on %s", lesson.device)
    return lesson, reason


def fitting_part(device: torch.device, x: Tensor, *networks: nn.Module) -> int | None:
    """How many of the samples `(B, *shape)` the networks, still on the CPU, can take at once on a device."""
    bytes_each = sum(activation_bytes(network, x[:1]) for network in networks)
    return samples_at_once(device, bytes_each, len(x))


def provenance(teacher: Teacher, student: Student) -> dict[str, str]:
    """What the student's file says of where it comes from."""
    return {
        "teacher_sha256": teacher.file.sha256,
        "student_family": student.family,
        "student_parameters": str(count_weights(student.module)),
    }
