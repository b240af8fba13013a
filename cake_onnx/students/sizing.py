"""Which student, and how large."""

from __future__ import annotations

from importlib.metadata import entry_points

import torch

from cake_onnx.config import STUDENT_GROUP
from cake_onnx.errors import UsageError
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.trainable import count_weights
from cake_onnx.students.family import FAMILIES, Family, Student
from cake_onnx.students.mlp import Mlp
from cake_onnx.students.pictures import Picture, SeesPictures

# Widths closer than this, relatively, are the same network in all but freak cases.
_RESOLUTION = 1e-3


def build_student(
    choice: str,
    input: InputSpec,
    classes: int,
    target_parameters: int,
    traits: frozenset[str],
    seed: int,
    teacher_parameters: int | None = None,
    picture: Picture | None = None,
) -> Student:
    """The largest network of a family that has no more parameters than asked for.

    Args:
        choice: `auto` or the name of a family.
        input: What the teacher takes; the student will take the same.
        classes: K, at least 2.
        target_parameters: Most trainable numbers the student may have.
        traits: What the teacher is made of, out of `convolution`, `residual`, `attention`, `recurrent`,
            `normalisation`, `quantised`. Read by `auto` only.
        teacher_parameters: Numbers the teacher stores, so that an error can name the largest compression.
        seed: The weights depend on it and on nothing else; torch's global generator is left as it was.
        picture: What a flat input is a picture of, if it is one.

    Raises:
        UsageError: There is no such family, it cannot take this input, or its smallest network is too large.
    """
    if choice == "auto":
        name, reason = choose_family(input, traits)
    else:
        name, reason = choice, "asked for by name"
    family = family_for(name, input, picture)
    smallest = parameters_at(family, input, classes, 0.0)
    if smallest > target_parameters:
        raise _too_small(name, input, classes, target_parameters, smallest, teacher_parameters)
    width = largest_width(family, input, classes, target_parameters)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would also seed the generators of accelerators, which are not restored.
        torch.default_generator.manual_seed(seed)
        module = family.build(input, classes, width)
    return Student(module, name, count_weights(module), reason)


def family_for(name: str, input: InputSpec, picture: Picture | None = None) -> Family:
    """The family of this name, so that it can take `input`.

    Args:
        name: One of ours, or one that an installed package offers.
        input: What the teacher takes.
        picture: What a flat input is a picture of, if it is one.

    Raises:
        UsageError: There is none, or it cannot take this input.
    """
    family = family_named(name)
    if picture is not None and isinstance(family, Mlp):
        family = Mlp(picture)
    elif picture is not None and family.unfit(input) is not None:
        family = SeesPictures(family, picture)
    unfit = family.unfit(input)
    if unfit is not None:
        remedy = "use --student mlp"
        if input.layout == "flat" and input.square is not None:
            remedy += "; if the values are the pixels of a picture, add `--prior image`"
        raise UsageError(f"an input that --student {name} can take", unfit, remedy)
    return family


def family_named(name: str) -> Family:
    """A family of ours, or one that an installed package offers.

    Raises:
        UsageError: There is none of this name, or the package that offers it is broken.
    """
    offered = {entry.name: entry for entry in entry_points(group=STUDENT_GROUP)}
    if name in FAMILIES.names() or name not in offered:
        return FAMILIES.get(name)()
    try:
        family: Family = offered[name].load()()
    except (ImportError, AttributeError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise UsageError(f"a student family {name} from {offered[name].value}", found, "mend it") from error
    return family


def choose_family(input: InputSpec, traits: frozenset[str]) -> tuple[str, str]:
    """`(family, reason)` of the student most like a teacher with these traits; it always fits."""
    if input.image_shape is None:
        return "mlp", "the input is not an image"
    if "attention" in traits:
        return "vit", "the teacher attends over an image"
    if {"residual", "convolution"} <= traits:
        return "resnet", "the teacher is a residual convolutional network"
    if "convolution" in traits:
        return "cnn", "the teacher is a convolutional network without shortcuts"
    return "mlp", "the teacher does not convolve the image"


def largest_width(family: Family, input: InputSpec, classes: int, target_parameters: int) -> float:
    """The largest width, to three digits, whose network has at most `target_parameters`; width 0 must."""
    low, high = 0.0, 1.0
    while parameters_at(family, input, classes, high) <= target_parameters:
        low, high = high, 2 * high
    while high - low > _RESOLUTION * high:
        middle = (low + high) / 2
        if parameters_at(family, input, classes, middle) <= target_parameters:
            low = middle
        else:
            high = middle
    return low


def parameters_at(family: Family, input: InputSpec, classes: int, width: float) -> int:
    """Trainable numbers of the network `family` would build, found without building it in memory."""
    with torch.device("meta"):  # shapes without storage: a network of any size is counted at once
        return count_weights(family.build(input, classes, width))


def _too_small(
    name: str, input: InputSpec, classes: int, target: int, smallest: int, teacher: int | None
) -> UsageError:
    families = [FAMILIES.get(other)() for other in FAMILIES.names()]
    fitting = [
        family.name
        for family in families
        if family.unfit(input) is None and parameters_at(family, input, classes, 0.0) <= target
    ]
    most = f", which is `--compression {int(10 * teacher / smallest) / 10:g}x`," if teacher else ""
    other = f", or take --student {' or '.join(fitting)}, which can be that small" if fitting else ""
    return UsageError(
        f"room for the smallest {name} for this input and {classes} classes",
        f"a size of {target:,} parameters",
        f"ask for {smallest:,} parameters{most} or more{other}",
    )
