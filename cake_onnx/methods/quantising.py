"""The student's file with 8-bit integers, calibrated without data."""

from __future__ import annotations

from cake_onnx.config import Config
from cake_onnx.devices import generator
from cake_onnx.graph.export import export_student
from cake_onnx.graph.quantise import OPSET, quantise
from cake_onnx.methods.lesson import provenance
from cake_onnx.priors import Prior, build_prior
from cake_onnx.students import Student
from cake_onnx.teacher import Teacher

CALIBRATED_ON = 2000
"""Samples of the prior, which do as well as real ones (docs/tried.md, Calibration)."""
_TRIED_ON = 64
"""Where only size and speed of the file count."""


def export_for(teacher: Teacher, student: Student, config: Config) -> bytes:
    """The student's file in float32, of an opset that can be quantised where it shall be."""
    return export_student(
        student.module,
        teacher.file.model,
        teacher.prepared,
        teacher.input,
        teacher.output,
        provenance(teacher, student),
        OPSET if config.quantizes else 0,
    )


def calibrated(
    model: bytes, teacher: Teacher, config: Config, prior: Prior | None = None, count: int = CALIBRATED_ON
) -> bytes:
    """A student's file, quantised on fresh samples of the prior where the options ask for it, else as it is.

    Args:
        model: What `export_for` gave.
        teacher: Whose input it takes.
        config: Options.
        prior: Where samples come from; built anew if None.
        count: How many samples.

    Raises:
        UsageError: It has no layer that onnxruntime quantises.
        RunFailedError: onnxruntime's quantiser failed.
    """
    if not config.quantizes:
        return model
    source = prior or build_prior(config.prior, teacher.input, teacher.module)[0]
    return quantise(model, source.draw(count, generator(config.seed, "calibration")).numpy(), teacher.input)


def require_quantisable(teacher: Teacher, student: Student, config: Config) -> None:
    """Refuse what cannot be quantised before it is taught, where the options ask for it.

    Raises:
        UsageError: It has no layer that onnxruntime quantises.
        RunFailedError: onnxruntime's quantiser failed.
    """
    if config.quantizes:
        as_deployed(teacher, student, config)


def as_deployed(teacher: Teacher, student: Student, config: Config) -> bytes:
    """The file of a student that has learnt nothing yet: as large and as fast as that of one that has.

    Raises:
        UsageError: It shall be quantised, and has no layer that onnxruntime quantises.
        RunFailedError: It cannot be exported, or onnxruntime's quantiser failed.
    """
    return calibrated(export_for(teacher, student, config), teacher, config, count=_TRIED_ON)
