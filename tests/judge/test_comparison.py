from __future__ import annotations

import math

import numpy as np
import pytest

from cake_onnx.graph.specs import Bounds, InputSpec
from cake_onnx.judge import Comparison, Suite, compare, decision_grid
from cake_onnx.judge.suites import FloatArray


def rows(*values: tuple[float, ...]) -> FloatArray:
    return np.array(values, dtype=np.float32)


def comparison(teacher: FloatArray, student: FloatArray) -> Comparison:
    return Comparison(
        Suite("made by hand", "other", np.zeros((len(teacher), 1), np.float32)), teacher, student
    )


TEACHER = rows((0.8, 0.1, 0.1), (0.2, 0.7, 0.1), (0.6, 0.3, 0.1), (0.1, 0.5, 0.4))
STUDENT = rows((0.5, 0.4, 0.1), (0.2, 0.7, 0.1), (0.3, 0.6, 0.1), (0.2, 0.3, 0.5))


def test_agreement_is_the_share_of_equal_decisions() -> None:
    made = comparison(TEACHER, STUDENT)
    assert made.same.tolist() == [True, True, False, False]
    assert made.agreement == 0.5
    assert comparison(TEACHER, TEACHER).agreement == 1
    assert comparison(TEACHER[:1], STUDENT[2:3]).agreement == 0


def test_kl_by_hand() -> None:
    by_hand = [
        sum(t * math.log(t / s) for t, s in zip(teacher, student, strict=True))
        for teacher, student in zip(TEACHER.tolist(), STUDENT.tolist(), strict=True)
    ]
    assert comparison(TEACHER, STUDENT).kl == pytest.approx(sum(by_hand) / 4, rel=1e-5)
    assert comparison(TEACHER, TEACHER).kl == pytest.approx(0, abs=1e-7)


def test_kl_goes_from_the_teacher_to_the_student() -> None:
    sharp, even = rows((0.99, 0.01)), rows((0.5, 0.5))
    forwards, backwards = comparison(sharp, even).kl, comparison(even, sharp).kl
    assert forwards == pytest.approx(0.99 * math.log(1.98) + 0.01 * math.log(0.02), rel=1e-4)
    assert backwards > 2 * forwards


def test_probabilities_of_zero_stay_finite() -> None:
    made = comparison(rows((1.0, 0.0)), rows((0.0, 1.0)))
    assert math.isfinite(made.kl)
    assert made.kl > 20
    assert all(np.isfinite(margin).all() for margin in made.margins)


def test_margins_are_the_log_odds_of_the_two_best() -> None:
    teacher, student = comparison(TEACHER, STUDENT).margins
    assert teacher == pytest.approx([math.log(8), math.log(3.5), math.log(2), math.log(1.25)], rel=1e-5)
    assert student == pytest.approx([math.log(1.25), math.log(3.5), math.log(2), math.log(5 / 3)], rel=1e-5)
    on_the_boundary, _ = comparison(rows((0.5, 0.5)), rows((0.5, 0.5))).margins
    assert on_the_boundary.tolist() == [0]


def test_per_class_counts_by_the_teachers_decision() -> None:
    assert comparison(TEACHER, STUDENT).per_class() == [(0, 2, 0.5), (1, 2, 0.5), (2, 0, None)]


def test_per_class_counts_add_up() -> None:
    generator = np.random.default_rng(0)
    teacher, student = generator.random((2, 500, 7), dtype=np.float32)
    made = comparison(teacher, student)
    counted = made.per_class()
    assert sum(n for _, n, _ in counted) == 500
    assert sum(n * (share or 0) for _, n, share in counted) == pytest.approx(500 * made.agreement)


@pytest.mark.parametrize("batch", [1, 3, 7, 250])
def test_both_are_asked_for_every_sample_once_and_in_order(batch: int) -> None:
    asked: list[int] = []

    def model(x: FloatArray) -> FloatArray:
        asked.append(len(x))
        return np.concatenate([x, 1 - x], 1)

    suite = Suite("line", "other", np.linspace(0, 1, 7, dtype=np.float32)[:, None])
    made = compare(suite, model, lambda x: model(x)[:, ::-1], batch)
    assert np.array_equal(made.teacher[:, :1], suite.x)
    assert np.array_equal(made.student[:, 1:], suite.x)
    assert sum(asked) == 14
    assert max(asked) <= batch


def flat(*shape: int) -> InputSpec:
    return InputSpec("x", shape, "float32", "flat", Bounds((0.0,), (1.0,), "test", False))


def test_a_plane_is_covered_by_a_grid() -> None:
    points = np.array([[-1, 5], [3, 6], [0, 5.5]], np.float32)
    grid = decision_grid(flat(2), points, side=5)
    assert grid is not None
    x, y, plane = grid
    assert x.tolist() == [-1, 0, 1, 2, 3]
    assert y.tolist() == [5, 5.25, 5.5, 5.75, 6]
    assert plane.shape == (25, 2)
    assert plane[:6].tolist() == [[-1, 5], [0, 5], [1, 5], [2, 5], [3, 5], [-1, 5.25]]


def test_the_grid_has_the_shape_of_the_input() -> None:
    grid = decision_grid(flat(2, 1), np.zeros((3, 2, 1), np.float32), side=2)
    assert grid is not None
    assert grid[2].shape == (4, 2, 1)


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 28, 28)])
def test_no_plane_no_grid(shape: tuple[int, ...]) -> None:
    assert decision_grid(flat(*shape), np.zeros((2, *shape), np.float32)) is None
