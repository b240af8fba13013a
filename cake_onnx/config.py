"""Options: one field is the Python argument, the flag, the environment variable and the TOML key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from cake_onnx.errors import UsageError
from cake_onnx.spelling import byte_count, factor, numbers, share


def _student(value: str) -> str:
    if value in STUDENTS or value.endswith(".onnx") or ":" in value:
        return value
    offered = tuple(entry.name for entry in entry_points(group=STUDENT_GROUP))
    if value not in offered:
        named = ", ".join(repr(name) for name in STUDENTS + offered)
        raise ValueError(f"it should be one of {named}, a FILE.onnx, timm:NAME or package.module:factory")
    return value


def _prior(value: str) -> str:
    if value in PRIORS or ":" in value:
        return value
    raise ValueError(f"it should be one of {', '.join(map(repr, PRIORS))} or package.module:factory")


Factor = Annotated[float, BeforeValidator(factor), Field(ge=1.0, le=10_000.0, allow_inf_nan=False)]
Ratio = Annotated[float, BeforeValidator(share), Field(gt=0, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

#: Students known by name; others are files, functions, and families of installed packages.
STUDENTS = ("auto", "like-teacher", "mlp", "cnn", "resnet", "vit")
STUDENT_GROUP = "cake_onnx.students"
"""Entry points under which packages offer families."""
#: Priors known by name; others are functions.
PRIORS = ("auto", "image", "series", "gaussian", "uniform", "tabular")
Budget = Literal["small", "medium", "large"]

#: Rounds of each budget; for `paper` the number of sets, `large` being the published one.
ROUNDS: Mapping[str, Mapping[Budget, int]] = {
    "rounds": {"small": 100, "medium": 500, "large": 1500},
    "paper": {"small": 16, "medium": 128, "large": 512},
}


#: Options that size the student, each instead of `compression`.
SIZES = ("max_size", "max_latency_ratio", "max_operations")


class Config(BaseModel):
    """Everything a run can be told. Descriptions are the help texts of the command."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)

    student: Annotated[str, AfterValidator(_student)] = Field(
        "auto",
        description="auto, like-teacher (grown down), mlp, cnn, resnet, vit, FILE.onnx, "
        "timm:NAME or module:factory.",
    )
    student_weights: Literal["keep", "reset"] = Field(
        "keep", description="Whether a student from FILE.onnx starts with the weights in it."
    )
    compression: Factor = Field(4.0, description="How many times fewer parameters the student has.")
    max_size: Annotated[int, BeforeValidator(byte_count), Field(ge=1)] | None = Field(
        None, description="Largest model.onnx, such as 500KB or 2MiB, instead of --compression."
    )
    max_latency_ratio: Ratio | None = Field(
        None,
        description="Longest time of a batch over the teacher's, as timed, instead of --compression.",
    )
    latency_batch: Annotated[int, Field(ge=1)] = Field(
        64, description="Samples of the batches that are timed for --max-latency-ratio."
    )
    max_operations: Ratio | None = Field(
        None,
        description="Most multiply-adds over the teacher's, instead of --compression.",
    )
    channel_block: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Cut convolutions to multiples of this; --max-latency-ratio finds what is fast.",
    )
    method: Literal["rounds", "paper"] = Field(
        "rounds",
        description="rounds: diffusion and distillation in turn. paper: CAKE as published, all sets first.",
    )
    budget: Budget = Field(
        "medium",
        description="How long to work: 100, 500 or 1500 rounds; 16, 128 or 512 sets with --method paper.",
    )
    rounds: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Exact number of rounds, instead of --budget."
    )
    max_minutes: Positive | None = Field(
        None,
        description="Do fewer rounds where the budget would take longer; a few rounds are timed first.",
    )
    langevin: bool = Field(
        False, description="Add Langevin noise to every step (LAKE); needs --method paper."
    )
    input_range: Annotated[tuple[Finite, Finite], BeforeValidator(numbers)] | None = Field(
        None, description="Lowest and highest value of an input element, LO,HI."
    )
    mean: Annotated[tuple[Finite, ...], BeforeValidator(numbers)] | None = Field(
        None, description="Mean per channel that was subtracted from inputs in [0, 1]; goes with --std."
    )
    std: Annotated[tuple[Positive, ...], BeforeValidator(numbers)] | None = Field(
        None, description="Deviation per channel that inputs in [0, 1] were divided by; goes with --mean."
    )
    prior: Annotated[str, AfterValidator(_prior)] = Field(
        "auto",
        description="Where samples start: auto (by input), image, series, gaussian, uniform, tabular or "
        "module:factory.",
    )
    eval: Path | None = Field(
        None,
        description="Your own data as .npz with x in the teacher's input units and, for accuracy, labels y.",
    )
    quantize: Literal["none", "int8"] = Field(
        "none",
        description="int8: let model.onnx compute with 8-bit integers, calibrated on synthetic samples.",
    )
    min_agreement: Annotated[float, BeforeValidator(share), Field(ge=0, le=1)] | None = Field(
        None,
        description="Exit with 1 if agreement is lower, 0.97 or 97%; on --eval data, else held-out samples.",
    )
    device: str = Field(
        "auto",
        description="Where torch works: auto, cpu, cuda or cuda:N.",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="Everything random follows from it.")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("--mean and --std go together")
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ValueError("--mean and --std need the same number of values")
        if self.mean is not None and self.input_range is not None:
            raise ValueError("--input-range and --mean/--std say the same thing twice: give one of them")
        if self.input_range is not None and self.input_range[0] >= self.input_range[1]:
            raise ValueError("the first number of --input-range must be the smaller one")
        if self.rounds is not None and self.max_minutes is not None:
            raise ValueError("--rounds and --max-minutes both set the length of the run: give one of them")
        if self.max_minutes is not None and self.method == "paper":
            raise ValueError(
                "--max-minutes needs --method rounds: the published schedule cannot be cut short"
            )
        if self.student == "like-teacher" and self.method == "paper":
            raise ValueError("--student like-teacher needs --method rounds, in which it becomes small")
        if self.langevin and self.method != "paper":
            raise ValueError("--langevin needs --method paper")
        return self

    @model_validator(mode="after")
    def _agree_on_the_student(self) -> Self:
        sizes = [flag_of(name) for name in SIZES if getattr(self, name) is not None]
        if len(sizes) > 1:
            raise ValueError(f"{' and '.join(sizes)} both size the student: give one of them")
        if self.student_file is not None:
            if sizes:
                raise ValueError(f"{sizes[0]} sizes students built here, and {self.student} has its size")
            if self.channel_block is not None:
                raise ValueError(
                    f"--channel-block is for the teacher grown down, and {self.student} is whole"
                )
        elif self.student_weights == "reset":
            raise ValueError("--student-weights reset needs --student FILE.onnx")
        return self

    @property
    def student_file(self) -> Path | None:
        """The ONNX file that is the student, where one is named."""
        return Path(self.student) if self.student.endswith(".onnx") else None

    @property
    def own_student(self) -> str | None:
        """The function of a user's own that builds the student, where one is named."""
        elsewhere = self.student_file is not None or self.student.startswith("timm:")
        return self.student if ":" in self.student and not elsewhere else None

    @property
    def own_prior(self) -> str | None:
        """The function of a user's own that builds the prior, where one is named."""
        return self.prior if ":" in self.prior else None

    @property
    def quantizes(self) -> bool:
        """Whether `model.onnx` is to compute with integers."""
        return self.quantize != "none"

    @property
    def planned_rounds(self) -> int:
        """Rounds (or sets) to do when no time limit shortens them."""
        return self.rounds if self.rounds is not None else ROUNDS[self.method][self.budget]


def parse_config(values: Mapping[str, Any], origin: str = "the configuration") -> Config:
    """Build a `Config` from loose values, as they come from flags, the environment or a file.

    Raises:
        UsageError: A key is unknown (the nearest known one is named) or a value does not fit.
    """
    for key in values:
        if key not in Config.model_fields:
            near = difflib.get_close_matches(key, Config.model_fields, n=1)
            raise UsageError(
                f"known keys in {origin}",
                f"`{key}`",
                f"write `{near[0]}`" if near else f"use one of {', '.join(Config.model_fields)}",
            )
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise _usage_error(error, values) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        UsageError: The file is missing, not text or not TOML.
    """
    if path.is_dir():
        raise UsageError("a TOML file for `--config`", f"a folder, {path}", "give a file inside it")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError("a TOML file for `--config`", f"no file {path.name}", "check the path") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError("a TOML file for `--config`", f"{path.name}: {error}", "mend the file") from error


def to_toml(config: Config) -> str:
    """The text of a `config.toml` that gives this configuration again; options left unset do not appear."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def flag_of(name: str) -> str:
    """The flag of a field: `max_minutes` to `--max-minutes`."""
    return "--" + name.replace("_", "-")


def _usage_error(error: ValidationError, values: Mapping[str, Any]) -> UsageError:
    first = error.errors()[0]
    if not first["loc"]:
        return UsageError(
            "options that agree", str(first["msg"]).removeprefix("Value error, "), "change one of them"
        )
    name = str(first["loc"][0])
    found = values[name]  # all that was written, not the part that pydantic stumbled over
    shown = ",".join(map(str, found)) if isinstance(found, (tuple, list)) else found
    field = Config.model_fields[name]
    return UsageError(
        f"a usable value for `{flag_of(name)}`{_why(str(first['type']), str(first['msg']))}",
        f"`{shown}`",
        f"{flag_of(name)} means: {field.description}".rstrip("."),
    )


def _why(kind: str, message: str) -> str:
    """Pydantic's reason in brackets; nothing where the meaning of the option says it better."""
    if kind == "string_pattern_mismatch":
        return ""
    if kind in ("missing", "too_long"):
        return " (it should be two numbers)"
    message = message.removeprefix("Value error, ")
    return f" ({message[:1].lower()}{message[1:]})".replace("input should", "it should")
