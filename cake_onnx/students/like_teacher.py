"""The teacher itself, grown down: it starts at the teacher's weights and loses channels while it learns."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import onnx
import torch
from onnx import ModelProto, helper
from torch import Tensor

from cake_onnx.errors import UnsupportedTeacherError, UsageError
from cake_onnx.graph.added_norms import add_norms, fold_norms
from cake_onnx.graph.batch import free_single
from cake_onnx.graph.batch_constants import store_batch_constants
from cake_onnx.graph.channels import (
    Channels,
    Goal,
    Sizes,
    Widths,
    follow_channels,
    layers_of,
    narrow,
    narrowest,
    next_drops,
    plan_widths,
)
from cake_onnx.graph.channels.narrow import Keeper
from cake_onnx.graph.channels.observe import observe
from cake_onnx.graph.float32 import as_float32, without_rounding
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.taps import Taps, places_of
from cake_onnx.graph.trainable import TrainableGraph, stored_arrays
from cake_onnx.students.importance import weigh_channels

NAME = "like-teacher"
_PLAN = "widths"
_KEPT = "kept"


class LikeTeacher(TrainableGraph):
    """The teacher's graph with weights that learn and channels that go.

    Args:
        prepared: The teacher, cut and folded.
        input: What it takes.
        goal: What there shall be less of.
        block: Channels that convolutions shall come in, where they are wider than that.

    Raises:
        UnsupportedTeacherError: Its graph cannot be narrowed; the message names the node that stops it.
    """

    def __init__(
        self, prepared: Prepared, input: InputSpec, goal: Goal = "parameters", block: int | None = None
    ) -> None:
        self.goal: Goal = goal
        self.block = block
        body = without_rounding(prepared.body) if prepared.quantised else prepared.body
        if body is None:
            raise _cannot("a float graph, or one quantised layer by layer", "another way of quantising")
        self.input = replace(input, dtype="float32")
        body = as_float32(body)
        freed = body if prepared.fixed_batch is None else free_single(body, self.input)
        if freed is None:
            raise _cannot("a graph through which any batch goes", "one tied to its batch")
        freed = store_batch_constants(freed, self.input)
        super().__init__(
            add_norms(freed, observe(freed, self.input).shapes),
            prepared.cut.relation,
            whole_numbers=input.dtype.startswith(("int", "uint")),
        )
        self.widths: Widths | None = None
        channels = self._survey()
        there, here = places_of(prepared.body), places_of(self.skeleton)
        self.kept = {
            name: (axis, torch.arange(count))
            for name, (axis, count) in what_layers_read(channels).items()
            if name in there and name in here and prepared.fixed_batch is None
        }
        self.teacher_places = {name: there[name] for name in self.kept}
        self._tap()

    @property
    def size(self) -> int:
        """Numbers that the weights hold now, or the operations of one sample where those are the goal."""
        return self._sizes(follow_channels(self.skeleton, self.input)).size

    def widths_by_layer(self) -> tuple[tuple[tuple[str, ...], int, int], ...]:
        """Names of layers that are always equally wide, their channels in the teacher, and those left now."""
        dims = {tensor.name: tensor.dims for tensor in self.skeleton.graph.initializer}
        return tuple(
            (layers.names, layers.width, dims[layers.key[0]][layers.key[1]]) for layers in self.layers
        )

    def fold(self) -> None:
        """Go on without the normalisations that were added."""
        self._become(fold_norms(self.model()))
        self._survey()

    def narrowest(self) -> int:
        """Size of the smallest graph that dropping channels can reach.

        Raises:
            UnsupportedTeacherError: No channel can go; the message names the node that stops it.
        """
        channels = follow_channels(self.skeleton, self.input)
        if not channels.droppable():
            raise _cannot("channels that can be dropped", channels.reason() or "none in this graph")
        return narrowest(self._sizes(channels))

    def weigh(self, x: Tensor, generator: torch.Generator) -> dict[int, float]:
        """What every channel is worth now, by its number in the graph, on samples `(B, *shape)`."""
        return weigh_channels(self, follow_channels(self.model(), self.input), x, generator)

    def plan(self, target: int, importance: Mapping[int, float]) -> None:
        """Settle how wide each layer shall end for a size of `target`, instead of at the first cut.

        Args:
            target: Size at the end, at most.
            importance: As `weigh` gave it.

        Raises:
            UsageError: The graph cannot be that small.
        """
        self.widths = plan_widths(self._sizes(follow_channels(self.skeleton, self.input)), target, importance)

    def narrowed(self, target: int, importance: Mapping[int, float]) -> tuple[ModelProto, int]:
        """The graph cut to `target` at once, and its size, which may be less; this student stays as it is.

        Raises:
            UsageError: The graph cannot be that small.
        """
        channels = follow_channels(self.model(), self.input)
        sizes = self._sizes(channels)
        widths = plan_widths(sizes, target, importance)
        drops = next_drops(sizes, widths, self.starts, 1.0, importance)
        sizes.drop(drops)
        return fold_norms(narrow(channels, drops)), sizes.size

    def shrink(
        self,
        target: int,
        progress: float,
        importance: Mapping[int, float],
        moments: Sequence[Mapping[str, Tensor]] = (),
    ) -> list[dict[str, Tensor]]:
        """Go on towards the size `target`, dropping the channels that matter least for their cost.

        How wide each layer shall end is planned the first time, from what channels are worth in the teacher;
        which channels go is decided each time.

        Args:
            target: Size at the end, at most.
            progress: Share of the way that shall be behind us afterwards, (0, 1].
            importance: As `weigh` gives it for this student as it is.
            moments: Tensors laid out as `weights` (an optimiser's state), to be cut alike.

        Returns:
            `moments`, cut.

        Raises:
            UsageError: The graph cannot be that small.
        """
        channels = follow_channels(self.model(), self.input)
        sizes = self._sizes(channels)
        if self.widths is None:
            self.widths = plan_widths(sizes, target, importance)
        drops = next_drops(sizes, self.widths, self.starts, progress, importance)
        if not drops:
            return [dict(slot) for slot in moments]
        cut = [narrow(replace(channels, model=self.model(slot)), drops) for slot in moments]
        self._forget(channels, drops)
        self._become(narrow(channels, drops))
        return [self.from_initializers(stored_arrays(model)) for model in cut]

    def graph_bytes(self) -> bytes:
        """The graph with its weights and with the plan."""
        model = self.model()
        kept = {name: [axis, left.tolist()] for name, (axis, left) in self.kept.items()}
        plan = json.dumps(list((self.widths or {}).items()))
        helper.set_model_props(model, {_PLAN: plan, _KEPT: json.dumps(kept)})
        return bytes(model.SerializeToString(deterministic=True))

    def install_bytes(self, data: bytes) -> None:
        """Take back what `graph_bytes` gave."""
        model = onnx.load_model_from_string(data)
        told = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
        plan = told[_PLAN]
        self.kept = {name: (axis, torch.tensor(left)) for name, (axis, left) in told[_KEPT].items()}
        self.widths = {tuple(tuple(key) for key in keys): width for keys, width in plan} or None
        del model.metadata_props[:]
        self._become(model)

    def _become(self, model: ModelProto) -> None:
        """Take another graph, where the weights are now."""
        device = next(self.parameters()).device
        self.install(model)
        self.to(device)
        self._tap()

    def _tap(self) -> None:
        places = places_of(self.skeleton)
        self.taps = Taps(self.network.body, {name: places[name] for name in self.kept})

    def _forget(self, channels: Channels, dropped: Collection[int]) -> None:
        """Note which of the teacher's channels are left without the items `dropped`."""
        keep = Keeper(channels, frozenset(dropped))
        for name, (axis, left) in self.kept.items():
            mask = keep.masks(name)[axis]
            if mask is not None:
                self.kept[name] = (axis, left[torch.from_numpy(mask)])

    def _survey(self) -> Channels:
        """Find the layers, and how wide they are to begin with."""
        channels = follow_channels(self.skeleton, self.input)
        self.layers = layers_of(channels)
        self.starts = self._sizes(channels).widths
        return channels

    def _sizes(self, channels: Channels) -> Sizes:
        return Sizes(channels, self.goal, self.block)


def what_layers_read(channels: Channels) -> dict[str, tuple[int, int]]:
    """Axis and number of the channels of every tensor that a weight is multiplied with, by its name.

    Nothing where no tensor has positions beside its channels: students of dense layers alone learn better
    from logits alone (docs/choices.md).
    """
    shapes, moving, found = channels.observed.shapes, channels.observed.moving, {}
    for node in channels.model.graph.node:
        if len(node.input) > 1 and node.input[1] in channels.contracted:
            labels = channels.labels.get(node.input[0], ())
            axes = [axis for axis, label in enumerate(labels) if label is not None]
            if len(axes) == 1 and 0 in moving.get(node.input[0], ()):
                found[node.input[0]] = (axes[0], shapes[node.input[0]][axes[0]])
    return found if any(len(shapes[name]) > 2 for name in found) else {}


def _cannot(expected: str, found: str) -> UnsupportedTeacherError:
    return UnsupportedTeacherError(f"{expected}, to grow the teacher down", found, "choose another --student")


def grow_down(
    prepared: Prepared, input: InputSpec, target: int, goal: Goal = "parameters", block: int | None = None
) -> LikeTeacher:
    """The teacher as a student that can become as small as `target`.

    Raises:
        UnsupportedTeacherError: The graph cannot be narrowed.
        UsageError: It cannot become that small; the message says how small it can become.
    """
    module = LikeTeacher(prepared, input, goal, block)
    least, whole = module.narrowest(), module.size
    if least > target:
        less = (
            f"`--compression {int(10 * whole / least) / 10:g}x` or less"
            if goal == "parameters"
            else f"`--max-operations {math.ceil(1000 * least / whole) / 1000:g}` or more"
        )
        raise UsageError(
            f"a size that this teacher can be grown down to, not {target:,} {goal}",
            f"{least:,} {goal} in its narrowest form",
            f"ask for {less}, or another --student",
        )
    return module
