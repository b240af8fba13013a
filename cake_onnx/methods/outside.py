"""Students that somebody else made: the architecture of an ONNX file, of timm, or what a function builds."""

from __future__ import annotations

import importlib
import math
import sys
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from cake_onnx.devices import generator
from cake_onnx.errors import UnsupportedTeacherError, UsageError
from cake_onnx.graph.float32 import as_float32, without_rounding
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.trainable import TrainableGraph, count_weights, weight_roles
from cake_onnx.graph.without_torchvision import without_torchvision
from cake_onnx.registry import ask_own, own_function
from cake_onnx.students import Student
from cake_onnx.students.entrance import image_entrance
from cake_onnx.teacher import Teacher, load_teacher


def student_of_file(path: Path, weights: Literal["keep", "reset"], teacher: Teacher, seed: int) -> Student:
    """The architecture of an ONNX file, with its weights or with others drawn anew.

    Args:
        path: A classifier for the same inputs and number of classes; it is checked as a teacher is.
        weights: `keep` goes on from those in the file.
        teacher: Whose student it will be.
        seed: Of new weights.

    Raises:
        UsageError: There is no such file, or it takes or gives something else than the teacher.
        UnsupportedTeacherError: It does not convert, or has no weights that can learn.
    """
    low, high = min(teacher.input.bounds.low), max(teacher.input.bounds.high)
    try:
        other = load_teacher(path, (low, high))
    except UnsupportedTeacherError as error:
        raise UnsupportedTeacherError(
            f"{error.expected}, for --student {path.name}", error.found, error.remedy
        ) from error
    wanted = (teacher.input.shape, teacher.output.classes)
    if (other.input.shape, other.output.classes) != wanted:
        raise UsageError(
            f"a --student that takes {list(wanted[0])} and tells {wanted[1]} classes apart, as the teacher",
            f"{path.name}, which takes {list(other.input.shape)} and tells {other.output.classes} apart",
            "choose another file",
        )
    body = without_rounding(other.prepared.body) if other.quantised else other.prepared.body
    if body is None or other.prepared.fixed_batch is not None:
        found = "one tied to its batch" if body else "whole numbers where weights should learn"
        raise UsageError("a --student in floats through which any batch goes", found, "choose another file")
    graph = TrainableGraph(as_float32(body), other.prepared.cut.relation)
    if weights == "reset":
        reset(graph, seed)
    count = count_weights(graph)
    reason = f"the architecture of {path.name}, weights: {weights}"
    return Student(graph, path.stem, count, reason, file_sha256=other.file.sha256)


@torch.no_grad()
def reset(graph: TrainableGraph, seed: int) -> None:
    """Draw all weights anew, matrices and kernels by their fan (Glorot and Bengio, 2010)."""
    draw = generator(seed, "reset")
    roles = weight_roles(graph.skeleton)
    for name, weight in graph.weights().items():
        role = roles[graph.places[name].initializer]
        if role == "bias":
            weight.zero_()
        elif role == "scale":
            weight.fill_(1.0)
        elif role == "slope":
            weight.fill_(0.25)
        elif weight.dim() > 1:
            fans = weight[0].numel() + weight.numel() // weight.shape[1]
            weight.copy_((2 * torch.rand(weight.shape, generator=draw) - 1) * math.sqrt(6 / fans))
        else:
            weight.copy_(0.02 * torch.randn(weight.shape, generator=draw))


def student_of_factory(name: str, teacher: Teacher, target: int, seed: int) -> Student:
    """What `package.module:factory` builds.

    The function is called as `factory(input=InputSpec, classes=int, parameters=int)` after torch was seeded,
    and returns a module `(B, *shape)` float32 in the teacher's units to logits `(B, K)`. The folder in which
    the command runs is searched first.

    Args:
        name: Module and function, with a colon between.
        teacher: Whose student it will be.
        target: Parameters it should have at most.
        seed: For torch's generator while it builds.

    Raises:
        UsageError: There is no such function, or it builds something else.
    """
    build = own_function(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        module = ask_own(
            f"a network from {name}",
            build,
            input=teacher.input,
            classes=teacher.output.classes,
            parameters=target,
        )
    if not isinstance(module, nn.Module):
        raise UsageError(f"a torch.nn.Module from {name}", f"a {type(module).__name__}", "return the network")
    _try(name, module.eval(), teacher.input, teacher.output.classes)
    count = count_weights(module)
    return Student(module, name, count, "built by a function of yours")


def student_of_timm(name: str, teacher: Teacher, seed: int) -> Student:
    """A network of timm (Wightman), behind layers that bring the teacher's units and layout to what it likes.

    Args:
        name: What `timm.create_model` knows, without pretrained weights.
        teacher: Whose student it will be; its input is an image.
        seed: For torch's generator while it builds.

    Raises:
        UsageError: There is no timm, it does not know the name, or the network does not take such images.
    """
    timm, input = _timm(), teacher.input
    if input.layout not in ("NCHW", "NHWC") or input.image_shape is None:
        found = f"one of shape {list(input.shape)}, {input.layout}"
        raise UsageError(f"an image as input, for --student timm:{name}", found, "use `--student mlp`")
    if not timm.is_model(name):
        near = ", ".join(get_close_matches(name, timm.list_models(), n=3)) or "nothing like it"
        raise UsageError("a network that timm knows", name, f"it has {near}; `timm.list_models()` lists all")
    channels, *size = input.image_shape
    options = {"in_chans": channels, "num_classes": teacher.output.classes}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:  # transformers are built for one size of images, others take any and know no such option
            network = timm.create_model(name, img_size=tuple(size), **options)
        except TypeError:
            network = timm.create_model(name, **options)
        except (AssertionError, ValueError, RuntimeError) as error:
            wanted = f"a network for images of {size[0]} x {size[1]}"
            raise UsageError(
                wanted, f"timm:{name}, which fails: {error}", "choose another network"
            ) from error
    module = nn.Sequential(image_entrance(input), network)
    _try(f"timm:{name}", module.eval(), input, teacher.output.classes)
    count = count_weights(module)
    return Student(module, f"timm:{name}", count, "built by timm, without pretrained weights")


def _timm() -> Any:
    """timm, also where torchvision, which it imports to load pictures, is absent or broken."""
    if find_spec("timm") is None:
        raise UsageError("timm, for --student timm:NAME", "no such package", 'pip install "cake-onnx[timm]"')
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError):  # what an absent and a mismatched torchvision raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
            del sys.modules[name]
        with without_torchvision():
            return importlib.import_module("timm")


def _try(name: str, module: nn.Module, input: InputSpec, classes: int) -> None:
    expected = f"a network from {name} that takes (B, {', '.join(map(str, input.shape))})"
    with torch.no_grad():
        shape = list(ask_own(expected, module, torch.zeros(2, *input.shape)).shape)
    if shape != [2, classes]:
        raise UsageError(f"logits of shape [2, {classes}] from {name}", f"{shape}", "mend its last layer")
