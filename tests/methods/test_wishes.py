"""Sizes in bytes and in time, with real exported candidates."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cake_onnx.config import Config, parse_config, to_toml
from cake_onnx.errors import UsageError
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.rounds import train_in_rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.wishes import settle_size
from cake_onnx.pipeline import export
from cake_onnx.students.like_teacher import LikeTeacher
from cake_onnx.teacher import Teacher, load_teacher


@pytest.fixture(scope="module")
def teacher(fixtures: Path) -> Teacher:
    return load_teacher(fixtures / "digits_cnn.onnx", (0.0, 1.0))


def config(**values: object) -> Config:
    return parse_config({"device": "cpu", **values})


@pytest.mark.parametrize("student", ["auto", "mlp"])
@pytest.mark.parametrize("most", [8_000, 90_000])
def test_the_file_has_almost_the_size_asked_for(teacher: Teacher, student: str, most: int) -> None:
    settled = settle_size(teacher, config(max_size=most, student=student))
    assert settled.max_size is None
    chosen = choose_student(teacher, settled)
    lesson, _ = prepare_lesson(teacher, chosen, settled)
    train_in_rounds(lesson, 1, settings=RoundSettings(samples=10, pool=500, bank=500))
    model, _ = export(teacher, chosen)
    assert 0.93 * most < len(model) <= most


def test_bytes_can_be_written_as_people_do() -> None:
    for text, size in (("500KB", 500_000), ("2MiB", 2 << 20), ("1.5 mb", 1_500_000), ("70", 70)):
        assert config(max_size=text).max_size == size
    for text in ("2MX", "1.2.3KB", "KB", "-1KB", "0"):
        with pytest.raises(UsageError, match="--max-size"):
            config(max_size=text)


def test_what_cannot_be_says_what_can(teacher: Teacher) -> None:
    with pytest.raises(UsageError, match=r"at most 900 bytes; found .* bytes in the smallest form") as caught:
        settle_size(teacher, config(max_size=900))
    advice = caught.value.remedy.split("`")[1].split()[1]
    assert settle_size(teacher, config(max_size=advice)).compression > 4
    with pytest.raises(UsageError, match=r"0\.0001 of the teacher's time for 4 samples"):
        settle_size(teacher, config(max_latency_ratio=1e-4, latency_batch=4))


def test_time_is_turned_into_operations(teacher: Teacher) -> None:
    """Nothing is asserted of the time itself; a student that may take longer is no smaller."""
    settled = settle_size(teacher, config(max_latency_ratio=1.0, latency_batch=4))
    assert settled.max_latency_ratio is None
    assert settled.max_operations is not None
    family = settle_size(teacher, config(max_latency_ratio=1.0, latency_batch=4, student="mlp"))
    assert family.max_operations is None
    assert choose_student(teacher, family).family == "mlp"


def test_operations_are_what_becomes_less(teacher: Teacher) -> None:
    students = {}
    for name, value in (("max_operations", 0.3), ("compression", 2.0)):
        settled = config(**{name: value})
        chosen = choose_student(teacher, settled)
        lesson, _ = prepare_lesson(teacher, chosen, settled)
        train_in_rounds(lesson, 1, settings=RoundSettings(samples=10, pool=500, bank=500))
        assert isinstance(chosen.module, LikeTeacher)
        assert 0.8 * lesson.size < chosen.module.size <= lesson.size
        students[name] = chosen.module.widths
    assert students["max_operations"] != students["compression"]
    with pytest.raises(UsageError, match="a student grown down, for --max-operations"):
        choose_student(teacher, config(max_operations=0.3, student="mlp"))
    with pytest.raises(UsageError, match=r"operations in its narrowest form.*--max-operations .* or more"):
        choose_student(teacher, config(max_operations=1e-4))


def test_the_options_written_down_repeat_the_size(teacher: Teacher) -> None:
    for wish in ({"max_size": 50_000}, {"max_latency_ratio": 1.0, "latency_batch": 2}):
        settled = settle_size(teacher, config(**wish))
        again = parse_config(tomllib.loads(to_toml(settled)))
        assert choose_student(teacher, again).shrink_to == choose_student(teacher, settled).shrink_to


def test_a_run_that_goes_on_keeps_its_size(teacher: Teacher) -> None:
    first = settle_size(teacher, config(max_size=50_000))
    size = choose_student(teacher, first).shrink_to
    again = settle_size(teacher, config(max_size=50_000), size)
    assert choose_student(teacher, again).shrink_to == size
