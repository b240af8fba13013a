"""Students with the teacher's graph and fewer channels that start from random weights."""

from __future__ import annotations

from job import Job
from onnx import ModelProto

from cake_onnx.config import Config
from cake_onnx.graph.channels import Sizes, follow_channels, narrow
from cake_onnx.graph.trainable import TrainableGraph
from cake_onnx.methods.lesson import weigh
from cake_onnx.methods.outside import reset
from cake_onnx.students import Student
from cake_onnx.students.like_teacher import LikeTeacher
from cake_onnx.teacher import Teacher

_STEPS = 1000


def uniform(teacher: Teacher, job: Job, config: Config) -> Student:
    """Every layer keeps the same share of its channels, as much as the parameters allow."""
    whole, target = _whole(teacher, config)
    channels = follow_channels(whole.model(), whole.input)
    for step in range(_STEPS, 0, -1):
        sizes = Sizes(channels)
        for group in sizes.groups:
            items = group.items[max(1, round(len(group.items) * step / _STEPS)) :]
            sizes.drop(items)
        if sizes.parameters <= target:
            return _fresh(whole, narrow(channels, sizes.dropped), job, "the same share of every layer")
    raise ValueError(f"{job.row}: no share of the channels has {target} parameters")


def found(teacher: Teacher, job: Job, config: Config) -> Student:
    """The widths that are planned for the teacher grown down."""
    whole, target = _whole(teacher, config)
    narrowed, _ = whole.narrowed(target, weigh(whole, teacher, config))
    return _fresh(whole, narrowed, job, "widths as planned for the teacher grown down")


def _whole(teacher: Teacher, config: Config) -> tuple[LikeTeacher, int]:
    whole = LikeTeacher(teacher.prepared, teacher.input)
    return whole, int(teacher.parameters / config.compression)


def _fresh(whole: LikeTeacher, narrowed: ModelProto, job: Job, reason: str) -> Student:
    graph = TrainableGraph(narrowed, whole.relation, whole_numbers=whole.whole_numbers)
    reset(graph, job.seed)
    return Student(graph, job.variant, sum(weight.numel() for weight in graph.parameters()), reason)
