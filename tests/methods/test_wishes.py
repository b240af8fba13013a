"""Sizes in bytes and in time, with real exported candidates."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from cake_onnx.config import Config, parse_config, to_toml
from cake_onnx.distill import Distillation
from cake_onnx.errors import UsageError
from cake_onnx.methods import wishes
from cake_onnx.methods.candidates import OfFamily
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.rounds import train_in_rounds
from cake_onnx.methods.settings import Narrowing, RoundSettings
from cake_onnx.methods.wishes import settle_size
from cake_onnx.pipeline import export
from cake_onnx.students.like_teacher import LikeTeacher
from cake_onnx.teacher import Teacher, load_teacher

SHORT = RoundSettings(
    samples=10,
    pool=500,
    bank=500,
    distillation=Distillation(steps=1, batch=16),
    narrowing=Narrowing(samples=32),
)
PLACES = (64, 64, 16)
"""Where each of the kernels of `digits_cnn` is applied."""


def config(**values: object) -> Config:
    return parse_config({"device": "cpu", **values})


def kernels(model: bytes) -> list[tuple[int, ...]]:
    """Shapes of the weights of convolutions and linear layers, in order."""
    graph = onnx.load_model_from_string(model).graph
    return [tuple(tensor.dims) for tensor in graph.initializer if len(tensor.dims) in (2, 4)]


def widths(model: bytes) -> list[int]:
    """Channels that the convolutions make."""
    return [shape[0] for shape in kernels(model) if len(shape) == 4]


def taught(teacher: Teacher, settled: Config) -> bytes:
    """The file of a student that has gone the whole way of its narrowing."""
    chosen = choose_student(teacher, settled)
    lesson, _ = prepare_lesson(teacher, chosen, settled)
    train_in_rounds(lesson, 1, settings=SHORT)
    return export(teacher, chosen)[0]


class Processor:
    """One that convolves whole blocks of channels, and takes as long as it multiplies."""

    def __init__(self, teacher: Teacher, block: int) -> None:
        self.block = block
        self.whole = self._multiplications(teacher.file.path.read_bytes())
        self.timed: list[bytes] = []

    def ratio(self, model: bytes) -> float:
        self.timed.append(model)
        return self._multiplications(model) / self.whole

    def _multiplications(self, model: bytes) -> int:
        places = iter(PLACES)
        return sum(
            math.prod(shape) if len(shape) == 2 else self._filled(shape) * 9 * next(places)
            for shape in kernels(model)
        )

    def _filled(self, shape: tuple[int, ...]) -> int:
        return math.prod(-(-channels // self.block) * self.block for channels in shape[:2])


def settle_on(processor: Processor, teacher: Teacher, wish: Config) -> Config:
    """Options settled where candidates take the time that they would take on a processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wishes._Stopwatch, "again", lambda self, model: processor.ratio(model))
        return settle_size(teacher, wish)


@dataclass(frozen=True)
class Settled:
    """A wish, what it was turned into, and the candidates that were timed on the way."""

    wish: Config
    config: Config
    timed: list[bytes]


@pytest.fixture(scope="module")
def teacher(fixtures: Path) -> Teacher:
    return load_teacher(fixtures / "digits_cnn.onnx", (0.0, 1.0))


@pytest.fixture(scope="module")
def by_bytes(teacher: Teacher) -> dict[int, Settled]:
    """Two sizes of files, asked for and settled."""
    wished = {most: config(max_size=most) for most in (8_000, 90_000)}
    return {most: Settled(wish, settle_size(teacher, wish), []) for most, wish in wished.items()}


@pytest.fixture(scope="module")
def by_time(teacher: Teacher) -> dict[int, Settled]:
    """Students for processors with blocks of 16 and of 8."""
    found = {}
    for block, ratio in ((16, 0.7), (8, 0.35)):
        processor, wish = Processor(teacher, block), config(max_latency_ratio=ratio)
        found[block] = Settled(wish, settle_on(processor, teacher, wish), processor.timed)
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real timing, but no more of it than is needed to see that it works."""
    monkeypatch.setattr(wishes, "_TURNS", (1, 1))
    monkeypatch.setattr(wishes, "_TURN_SECONDS", 1e-6)


@pytest.mark.parametrize("most", [8_000, 90_000])
def test_the_file_has_almost_the_size_asked_for(
    teacher: Teacher, by_bytes: dict[int, Settled], most: int
) -> None:
    assert by_bytes[most].config.max_size is None
    assert 0.93 * most < len(taught(teacher, by_bytes[most].config)) <= most


def test_a_family_is_sized_by_its_files_too(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    family = OfFamily(teacher, config(student="mlp"))  # one for both, so that it exports nothing twice
    monkeypatch.setattr(wishes, "candidates_for", lambda *asked: [family])
    sized = settle_size(teacher, config(max_size=20_000, student="mlp"))
    assert 0.93 * 20_000 < len(taught(teacher, sized)) <= 20_000

    monkeypatch.setattr(wishes._Stopwatch, "again", lambda self, model: 0.5)
    timed = settle_size(teacher, config(max_latency_ratio=1.0, student="mlp"))
    assert (timed.max_operations, timed.channel_block) == (None, None)
    student = choose_student(teacher, timed)
    assert student.family == "mlp"
    assert 0.95 * teacher.parameters < student.parameters < teacher.parameters


def test_bytes_can_be_written_as_people_do() -> None:
    for text, size in (("500KB", 500_000), ("2MiB", 2 << 20), ("1.5 mb", 1_500_000), ("70", 70)):
        assert config(max_size=text).max_size == size
    for text in ("2MX", "1.2.3KB", "KB", "-1KB", "0"):
        with pytest.raises(UsageError, match="--max-size"):
            config(max_size=text)


@pytest.mark.usefixtures("quick")
def test_what_cannot_be_says_what_can(teacher: Teacher) -> None:
    with pytest.raises(UsageError, match=r"at most 900 bytes; found .* bytes in the smallest form") as caught:
        settle_size(teacher, config(max_size=900))
    advice = caught.value.remedy.split("`")[1].split()[1]
    assert settle_size(teacher, config(max_size=advice)).compression > 4
    with pytest.raises(UsageError, match=r"0\.0001 of the teacher's time for 4 samples"):
        settle_size(teacher, config(max_latency_ratio=1e-4, latency_batch=4))


def test_time_is_turned_into_operations(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asserted of the time itself; of so many samples and turns a busy machine can tell it too."""
    monkeypatch.setattr(wishes, "_TURNS", (9, 9))
    settled = settle_size(teacher, config(max_latency_ratio=1.0, latency_batch=512))
    assert settled.max_latency_ratio is None
    assert settled.max_operations is not None
    assert settled.channel_block in (16, 8, 1)


@pytest.mark.parametrize("block", [16, 8])
def test_blocks_that_the_processor_computes_in_are_found(
    teacher: Teacher, by_time: dict[int, Settled], block: int
) -> None:
    """What would be computed anyway is kept: fewer channels would be no faster."""
    wish, found, chosen = by_time[block].wish, by_time[block].config, by_time[block].timed[-1]
    ratio = wish.max_latency_ratio or 0
    assert found.channel_block == block
    assert 0.75 * ratio < Processor(teacher, block).ratio(chosen) <= ratio
    assert all(width % block == 0 for width in widths(chosen)), widths(chosen)
    narrower = Processor(teacher, block)
    without = settle_on(narrower, teacher, wish.model_copy(update={"channel_block": 1}))
    assert without.channel_block == 1
    assert len(narrower.timed[-1]) < len(chosen)


def test_a_block_can_be_asked_for(teacher: Teacher) -> None:
    sized = settle_size(teacher, config(max_size=60_000, channel_block=4))
    model = taught(teacher, sized)
    assert all(width % 4 == 0 or width < 4 for width in widths(model))
    assert 0.8 * 60_000 < len(model) <= 60_000
    with pytest.raises(UsageError, match="a student grown down, for --channel-block"):
        choose_student(teacher, config(channel_block=4, student="mlp"))


def test_what_is_slower_when_timed_again_becomes_smaller(
    teacher: Teacher, by_time: dict[int, Settled]
) -> None:
    first = by_time[16]

    class Tiring(Processor):
        def ratio(self, model: bytes) -> float:
            return super().ratio(model) + (0.3 if self.timed.count(model) > 1 else 0)

    second = settle_on(Tiring(teacher, 16), teacher, first.wish)
    assert (second.max_operations or 1) < (first.config.max_operations or 0)


def test_the_student_that_learns_has_the_widths_that_were_timed(
    teacher: Teacher, by_time: dict[int, Settled]
) -> None:
    chosen = choose_student(teacher, by_time[8].config)
    assert isinstance(chosen.module, LikeTeacher)
    assert chosen.module.widths is not None  # before there is any other sample to plan by
    assert kernels(taught(teacher, by_time[8].config)) == kernels(by_time[8].timed[-1])


def test_operations_are_what_becomes_less(teacher: Teacher) -> None:
    students = {}
    for name, value in (("max_operations", 0.3), ("compression", 2.0)):
        settled = config(**{name: value})
        chosen = choose_student(teacher, settled)
        lesson, _ = prepare_lesson(teacher, chosen, settled)
        train_in_rounds(lesson, 1, settings=SHORT)
        assert isinstance(chosen.module, LikeTeacher)
        assert 0.8 * lesson.size < chosen.module.size <= lesson.size
        students[name] = chosen.module.widths
    assert students["max_operations"] != students["compression"]
    with pytest.raises(UsageError, match="a student grown down, for --max-operations"):
        choose_student(teacher, config(max_operations=0.3, student="mlp"))
    with pytest.raises(UsageError, match=r"operations in its narrowest form.*--max-operations .* or more"):
        choose_student(teacher, config(max_operations=1e-4))


def test_the_options_written_down_repeat_the_size(
    teacher: Teacher, by_bytes: dict[int, Settled], by_time: dict[int, Settled]
) -> None:
    for settled in (by_bytes[90_000].config, by_time[8].config):
        again = parse_config(tomllib.loads(to_toml(settled)))
        assert again == settled
        first, second = (choose_student(teacher, options) for options in (settled, again))
        assert second.shrink_to == first.shrink_to
        assert isinstance(first.module, LikeTeacher)
        assert isinstance(second.module, LikeTeacher)
        assert second.module.widths == first.module.widths


def test_a_run_that_goes_on_keeps_its_size(
    teacher: Teacher, by_bytes: dict[int, Settled], by_time: dict[int, Settled]
) -> None:
    for settled in (by_bytes[90_000], by_time[8]):
        lesson, _ = prepare_lesson(teacher, choose_student(teacher, settled.config), settled.config)
        facts: dict[str, object] = {"total": 1, "size": lesson.size, "block": lesson.block, "curve": []}
        assert settle_size(teacher, settled.wish, facts, provider="none that would time it") == settled.config
