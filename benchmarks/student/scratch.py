"""Students with the teacher's graph whose widths, or first weights, are not those of the default."""

from __future__ import annotations

from job import Job
from onnx import ModelProto

from cake_onnx.config import Config
from cake_onnx.graph.channels import Channels, Sizes, follow_channels, narrow
from cake_onnx.graph.trainable import TrainableGraph, count_weights
from cake_onnx.methods.lesson import choose_student, weigh
from cake_onnx.methods.outside import reset
from cake_onnx.students import Student
from cake_onnx.students.like_teacher import LikeTeacher
from cake_onnx.teacher import Teacher

_STEPS = 1000


def uniform(teacher: Teacher, job: Job, config: Config) -> Student:
    """Every layer keeps the same share of its channels, as much as the parameters allow."""
    whole, target = _whole(teacher, config)
    channels = follow_channels(whole.model(), whole.input)
    narrowed = narrow(channels, narrowed_alike(channels, target).dropped)
    return _fresh(whole, narrowed, job, "the same share of every layer")


def uniform_grown_down(teacher: Teacher, job: Job, config: Config) -> Student:
    """The teacher on its way to layers that all keep the same share of their channels."""
    student = choose_student(teacher, config)
    assert isinstance(student.module, LikeTeacher)
    assert student.shrink_to is not None
    channels = follow_channels(student.module.skeleton, student.module.input)
    student.module.widths = narrowed_alike(channels, student.shrink_to).widths
    return student


def narrowed_alike(channels: Channels, target: int) -> Sizes:
    """The largest graph of at most `target` parameters whose layers keep the same share of their channels."""
    for step in range(_STEPS, 0, -1):
        sizes = Sizes(channels)
        for group in sizes.groups:
            items = group.items[max(1, round(len(group.items) * step / _STEPS)) :]
            sizes.drop(items)
        if sizes.parameters <= target:
            return sizes
    raise ValueError(f"no share of the channels has {target} parameters")


def found(teacher: Teacher, job: Job, config: Config) -> Student:
    """The widths that are planned for the teacher grown down."""
    whole, target = _whole(teacher, config)
    narrowed, _ = whole.narrowed(target, weigh(whole, teacher, config))
    return _fresh(whole, narrowed, job, "widths as planned for the teacher grown down")


def _whole(teacher: Teacher, config: Config) -> tuple[LikeTeacher, int]:
    whole = LikeTeacher(teacher.prepared, teacher.input)
    whole.fold()  # a student from scratch has the layers of the file
    return whole, int(teacher.parameters / config.compression)


def _fresh(whole: LikeTeacher, narrowed: ModelProto, job: Job, reason: str) -> Student:
    graph = TrainableGraph(narrowed, whole.relation, whole_numbers=whole.whole_numbers)
    reset(graph, job.seed)
    return Student(graph, job.variant, count_weights(graph), reason)
