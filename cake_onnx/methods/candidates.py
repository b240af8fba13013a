"""Files of students that have learnt nothing yet: as large and as fast as those of students that have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from cake_onnx.config import SIZES, Config
from cake_onnx.devices import generator
from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.channels import Goal
from cake_onnx.graph.trainable import TrainableGraph, count_weights
from cake_onnx.methods.lesson import choose_student, flattened_picture, weigh
from cake_onnx.methods.quantising import as_deployed
from cake_onnx.students import Student
from cake_onnx.students.like_teacher import NAME, LikeTeacher
from cake_onnx.students.sizing import choose_family, family_for, parameters_at
from cake_onnx.teacher import Teacher


@dataclass(frozen=True)
class Candidate:
    """One of them.

    Attributes:
        size: What it has, in the units of what is asked for, and at most as much.
        file: Its ONNX file.
    """

    size: int
    file: bytes


class Candidates(ABC):
    """Students of one teacher and of every size.

    Args:
        teacher: Whose students these are.
        config: Options.

    Attributes:
        low: The smallest size.
        high: The largest.
    """

    low: int
    high: int

    def __init__(self, teacher: Teacher, config: Config) -> None:
        self.teacher, self.config = teacher, config
        self._known: dict[int, Candidate] = {}

    def settled(self, size: int) -> Config:
        """The options for a student of this size."""
        update = {**dict.fromkeys(SIZES), "compression": self.teacher.parameters / (size + 0.5)}
        return self.config.model_copy(update=update)

    def of(self, size: int) -> Candidate:
        """The largest student of at most this size, exported."""
        if size not in self._known:
            student, reached = self.student(size)
            self._known[size] = Candidate(reached, as_deployed(self.teacher, student, self.config))
        return self._known[size]

    @abstractmethod
    def student(self, size: int) -> tuple[Student, int]:
        """The largest student of at most this size, and the size it has."""


class GrownDown(Candidates):
    """The teacher grown down.

    Args:
        teacher: Whose students these are.
        config: Options.
        module: The whole teacher; its goal says what sizes count.
        worth: What its channels are worth, asked for when it is needed.
    """

    def __init__(
        self, teacher: Teacher, config: Config, module: LikeTeacher, worth: Callable[[], dict[int, float]]
    ) -> None:
        super().__init__(teacher, config)
        self._module, self._worth = module, worth
        self._whole, goal = module.size, module.goal
        self.low = self._module.narrowest()
        # A student of as many parameters as the teacher is none that was asked for.
        self.high = self._whole if goal == "operations" else min(self._whole, teacher.parameters - 1)

    def settled(self, size: int) -> Config:
        """The options for a student of this size."""
        if self._module.goal == "parameters":
            return super().settled(size)
        share = min(1.0, (size + 0.5) / self._whole)
        update = {**dict.fromkeys(SIZES), "max_operations": share, "channel_block": self._module.block}
        return self.config.model_copy(update=update)

    def student(self, size: int) -> tuple[Student, int]:
        """The teacher cut at once to at most this size, and the size it has."""
        narrowed, reached = self._module.narrowed(max(size, self.low), self._worth())
        graph = TrainableGraph(narrowed, self._module.relation, whole_numbers=self._module.whole_numbers)
        return Student(graph, NAME, count_weights(graph), ""), reached


class OfFamily(Candidates):
    """Networks of a family, from scratch.

    Args:
        teacher: Whose students these are.
        config: Options.
    """

    def __init__(self, teacher: Teacher, config: Config) -> None:
        super().__init__(teacher, config)
        auto = choose_family(teacher.input, teacher.traits)[0]
        name = auto if config.student == "auto" else config.student
        family = family_for(name, teacher.input, flattened_picture(teacher, config))
        self.low = parameters_at(family, teacher.input, teacher.output.classes, 0.0)
        self.high = max(self.low, teacher.parameters - 1)

    def student(self, size: int) -> tuple[Student, int]:
        """The largest network of at most this size, with weights that all differ, and the size it has."""
        student = choose_student(self.teacher, self.settled(size))
        fill = generator(self.config.seed, "fill")
        with torch.no_grad():
            for weight in student.module.parameters():
                # The exporter stores equal weights once, such as biases before they have learnt anything.
                weight.add_(1e-3 * torch.randn(weight.shape, generator=fill))
        return student, student.parameters


def candidates_for(
    teacher: Teacher, config: Config, goal: Goal, blocks: Sequence[int | None] = (None,)
) -> list[Candidates]:
    """The teacher grown down, once for every size of block, or else networks of a family.

    Raises:
        UnsupportedTeacherError: Only the teacher grown down was asked for, and its graph resists.
    """
    if config.method == "rounds" and config.student in ("auto", NAME):
        try:
            modules = [LikeTeacher(teacher.prepared, teacher.input, goal, block) for block in blocks]
            # Channels have the same numbers in all of them.
            worth = cache(lambda: weigh(modules[0], teacher, config))
            return [GrownDown(teacher, config, module, worth) for module in modules]
        except UnsupportedTeacherError:
            if config.student == NAME:
                raise
    return [OfFamily(teacher, config)]
