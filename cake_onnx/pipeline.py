"""The order of things. `compress` is the method as a page of prose; the floors below do the work."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from cake_onnx import progress as tell
from cake_onnx.config import Config, to_toml
from cake_onnx.diffuse import Published
from cake_onnx.errors import UsageError
from cake_onnx.evaluation import load_evaluation
from cake_onnx.graph.check import Parity
from cake_onnx.graph.export import check_export
from cake_onnx.graph.runtime import open_session
from cake_onnx.judge import CPU, Side, Verdict, judge
from cake_onnx.methods.fitted import NOT_DIFFUSED, diffuses
from cake_onnx.methods.held_out import held_out_suites
from cake_onnx.methods.lesson import choose_student, prepare_lesson
from cake_onnx.methods.paper import train_as_published
from cake_onnx.methods.quantising import CALIBRATED_ON, calibrated, export_for, require_quantisable
from cake_onnx.methods.rounds import train_in_rounds
from cake_onnx.methods.settings import RoundSettings
from cake_onnx.methods.sharing import SharedCheckpoints
from cake_onnx.methods.timing import rounds_within
from cake_onnx.methods.training import Checkpoints, Lesson, NoCheckpoints, Training
from cake_onnx.methods.wishes import settle_size
from cake_onnx.ranks import program, ranks
from cake_onnx.report.assemble import Run, Subject, assemble, assumptions
from cake_onnx.report.gallery import draw_pictures
from cake_onnx.report.measures import CurvePoint
from cake_onnx.report.model import Report
from cake_onnx.report.pictures import Pictures
from cake_onnx.students import Student
from cake_onnx.students.like_teacher import LikeTeacher
from cake_onnx.teacher import Teacher, load_teacher

_log = logging.getLogger(__name__)

#: Judging may take this share of the teacher passes that the run took.
JUDGING_SHARE = 0.05


@dataclass(frozen=True)
class Result:
    """What a compression gives.

    Attributes:
        model: The student as a serialised ONNX model, a drop-in for the teacher.
        report: Everything measured.
        pictures: The arrays behind the pictures of the page.
        config: The options with everything that was decided on the way, such as the number of rounds.
        unquantised: The student in float32, where `model` computes with integers.
    """

    model: bytes
    report: Report
    pictures: Pictures
    config: Config
    unquantised: bytes | None = None

    @property
    def passed(self) -> bool:
        """True when every gate held."""
        return self.report.passed

    def files(self) -> dict[str, bytes]:
        """Everything that a run leaves, file name to content."""
        # The page needs its template engine and the plots; who only wants the model need not wait for them.
        from cake_onnx.report.card import render_card
        from cake_onnx.report.html import render_html
        from cake_onnx.report.model import to_json

        unquantised = {} if self.unquantised is None else {"model-float32.onnx": self.unquantised}
        return {
            "model.onnx": self.model,
            **unquantised,
            "report.json": to_json(self.report).encode(),
            "report.html": render_html(self.report, self.pictures).encode(),
            "MODEL_CARD.md": render_card(self.report).encode(),
            "config.toml": to_toml(self.config).encode(),
        }


def compress(
    path: str | Path,
    config: Config | None = None,
    report: tell.Report = tell.silent,
    checkpoints: Checkpoints | None = None,
    latency_provider: str | None = CPU,
) -> Result:
    """Make a smaller classifier that behaves like the one in `path`, without data.

    Reads the model (and the file named by `config.eval`) and writes nothing.

    Args:
        path: An ONNX classifier.
        config: Options; the defaults fit every teacher.
        report: Called at every step forward.
        checkpoints: Where the state is left between rounds, so that a broken run can go on.
        latency_provider: onnxruntime's execution provider to time teacher and student on; None times nothing.

    Raises:
        UsageError: The path or an option cannot be used as given.
        UnsupportedTeacherError: The file is not a classifier that can be distilled.
        RunFailedError: Numbers overflowed, or the exported student does not do what the trained one does.
    """
    config, clock = config or Config(), tell.Clock()

    report(tell.Progress("read", 0, 1))
    teacher = load_teacher(Path(path), config.input_range, config.mean, config.std)
    evaluation = load_evaluation(config.eval, teacher.input, teacher.output.classes) if config.eval else None
    kept = SharedCheckpoints(checkpoints or NoCheckpoints(), ranks())
    config = size(teacher, config, kept, latency_provider)
    student = choose_student(teacher, config)
    require_quantisable(teacher, student, config)
    lesson, prior_reason = prepare_lesson(teacher, student, config)
    config = plan(config, lesson, kept)
    report(tell.Progress("read", 1, 1, f"parity with onnxruntime: {teacher.parity}"))
    clock.lap("read")

    training = train(lesson, config, report, kept)
    clock.lap("distil")

    report(tell.Progress("export", 0, 1))
    exported, parity = export(teacher, student, config)
    model = calibrated(exported, teacher, config, lesson.prior)
    report(tell.Progress("export", 1, 1, f"parity with onnxruntime: {parity}"))
    clock.lap("export")

    samples = int(min(2000, max(300, JUDGING_SHARE * training.passes / 26)))
    suites = held_out_suites(
        lesson.device.fitting(lesson.teacher),
        lesson.prior,
        teacher.input,
        lesson.classes,
        config.seed,
        samples,
        lesson.device.torch_device,
    )
    original = Side(teacher.data, teacher.session, teacher.input, teacher.output)
    copy = replace(original, model=model, session=open_session(model))
    whole = replace(copy, model=exported, session=open_session(exported)) if config.quantizes else None
    verdict = judge(original, copy, suites, evaluation, config.min_agreement, report, latency_provider, whole)
    clock.lap("judge")

    story = _tell(
        teacher, student, lesson, prior_reason, config, training, copy, whole, parity, verdict, clock
    )
    pictures = draw_pictures(original, copy, suites[0].x, lesson.prior)
    return Result(model, story, pictures, config, whole.model if whole else None)


def assist(path: str | Path, config: Config, report: tell.Report = tell.silent) -> None:
    """What every rank of several but the first does while that one is in `compress`: a share of the work.

    Args:
        path: The same file.
        config: The same options.
        report: Called at every step forward; may ask to stop, as that of `compress` may.

    Raises:
        RankLostError: Another rank is gone.
        CakeError: As `compress`, whose checks it repeats.
    """
    report(tell.Progress("read", 0, 1))
    teacher = load_teacher(Path(path), config.input_range, config.mean, config.std)
    kept = SharedCheckpoints(NoCheckpoints(), ranks())
    config = size(teacher, config, kept)
    lesson, _ = prepare_lesson(teacher, choose_student(teacher, config), config)
    train(lesson, plan(config, lesson, kept), report, kept)


def size(
    teacher: Teacher, config: Config, checkpoints: Checkpoints, latency_provider: str | None = CPU
) -> Config:
    """Turn a wish for bytes or for time into a size; the first rank, or an earlier start, has settled it.

    Raises:
        UsageError: The wish cannot be fulfilled.
    """
    if config.max_size is None and config.max_latency_ratio is None:
        return config
    together, saved = ranks(), checkpoints.load()
    if together.first:
        config = settle_size(teacher, config, saved[1] if saved else None, latency_provider)
    return Config.model_validate_json(together.from_first(config.model_dump_json().encode()))


def plan(config: Config, lesson: Lesson, checkpoints: Checkpoints | None = None) -> Config:
    """Fix the number of rounds, so that a repetition, and a resumed run, does what this run does.

    Raises:
        UsageError: Several ranks for a method that cannot be shared.
    """
    if config.method == "paper" and lesson.ranks.count > 1:
        found = f"{lesson.ranks.count} ranks"
        raise UsageError("one process for `--method paper`, as published", found, "start it without torchrun")
    rounds = config.planned_rounds
    if config.max_minutes is not None:
        saved = checkpoints.load() if checkpoints else None
        rounds = int(saved[1]["total"]) if saved else min(rounds, rounds_within(lesson, config.max_minutes))
    return config.model_copy(update={"rounds": rounds, "max_minutes": None})


def train(
    lesson: Lesson, config: Config, report: tell.Report, checkpoints: Checkpoints | None = None
) -> Training:
    """The method itself."""
    if config.method == "paper":
        settings = Published(sets=config.planned_rounds, langevin=config.langevin)
        return train_as_published(lesson, settings, report, checkpoints)
    return train_in_rounds(lesson, config.planned_rounds, report, checkpoints)


def export(teacher: Teacher, student: Student, config: Config | None = None) -> tuple[bytes, Parity]:
    """The student in float32 as an ONNX drop-in for its teacher, compared with the student in torch."""
    module = student.module.cpu().eval()
    model = export_for(teacher, student, config or Config())
    return model, check_export(module, model, teacher.prepared, teacher.input, teacher.output)


def _widths(student: Student) -> tuple[tuple[tuple[str, ...], int, int], ...] | None:
    """Layers with their channels in the teacher and in a student that is the teacher grown down."""
    if not isinstance(student.module, LikeTeacher):
        return None
    widths = student.module.widths_by_layer()
    for layers, before, left in widths:
        _log.info("width of %s: %d of %d", ", ".join(layers), left, before)
    return widths


def _whence(lesson: Lesson, prior_reason: str, config: Config) -> str:
    """Where samples come from and whether they are pushed to the boundary, in sentences."""
    told = f"Samples start from the {lesson.prior.name} prior, because {prior_reason}."
    if config.method == "paper" or diffuses(lesson, RoundSettings()):
        return told
    return f"{told} {NOT_DIFFUSED}"


def _tell(
    teacher: Teacher,
    student: Student,
    lesson: Lesson,
    prior_reason: str,
    config: Config,
    training: Training,
    copy: Side,
    whole: Side | None,
    parity: Parity,
    verdict: Verdict,
    clock: tell.Clock,
) -> Report:
    run = Run(
        method=config.method,
        rounds=training.rounds,
        passes=training.passes,
        curve=tuple(CurvePoint(**point.__dict__) for point in training.curve),
        seconds=clock.laps,
        seed=config.seed,
        device=lesson.place,
        ranks=lesson.ranks.count,
        student_file_sha256=student.file_sha256,
        own_prior=config.own_prior,
    )
    return assemble(
        teacher=Subject.of_file(teacher.file, teacher.parameters),
        student=Subject.of_bytes("model.onnx", copy.model),
        family=student.family,
        chosen_because=student.reason,
        input=teacher.input,
        output=teacher.output,
        conversion=teacher.parity,
        export=parity,
        verdict=verdict,
        run=run,
        assumptions=assumptions(
            teacher.input,
            _whence(lesson, prior_reason, config),
            verdict,
            teacher.changes,
            (teacher.remark, ""),
        ),
        command=f"{program(lesson.ranks)} compress {teacher.file.path.name} --config config.toml",
        config_text=to_toml(config),
        widths=_widths(student),
        unquantised=None if whole is None else (len(whole.model), CALIBRATED_ON),
    )
