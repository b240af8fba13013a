"""A graph whose weights learn, and whose weights go back into the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from torch import Tensor, nn

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.added_norms import ADDED
from cake_onnx.graph.convert import TeacherModule, claim_graph, convert_claimed
from cake_onnx.graph.cut import Relation
from cake_onnx.graph.operators.normalisation import BatchNorm
from cake_onnx.graph.tensors import copy_model
from cake_onnx.graph.wiring import Wiring

_LEARNING: dict[str, tuple[int, ...]] = {
    # operator: inputs that are weights where they are stored
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (0, 1),
    "BatchNormalization": (1, 2), "LayerNormalization": (1, 2), "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2), "RMSNormalization": (1,), "PRelu": (1,),
    "Add": (0, 1), "Sub": (0, 1), "Mul": (0, 1), "Div": (0, 1), "Sum": (0, 1, 2),
    "Concat": (0, 1), "Expand": (0,),
    "LSTM": (1, 2, 3), "GRU": (1, 2, 3), "RNN": (1, 2, 3),
}  # fmt: skip
_BIASED = ("Conv", "ConvTranspose", "Gemm")
_SCALING = ("Add", "Sub", "Mul", "Div")
_LARGEST_EXACT = 2**24
"""Whole numbers up to here are exact in float32."""
_PART = 2**20
"""Numbers of the input that run through the graph at once: 256 small pictures, 6 large ones."""


@dataclass(frozen=True)
class _Place:
    """Where the elements of a torch tensor lie in an initializer."""

    initializer: str
    index: Tensor


class TrainableGraph(nn.Module):
    """A converted graph with its weights as parameters.

    Args:
        model: A prepared body in float32: one input, one output. It is not changed.
        relation: How logits follow from its output, see `Cut`.
        whole_numbers: Inputs are rounded (straight-through).
    """

    def __init__(self, model: ModelProto, relation: Relation, *, whole_numbers: bool = False) -> None:
        super().__init__()
        self.relation: Relation = relation
        self.whole_numbers = whole_numbers
        self.install(model)

    def install(self, model: ModelProto) -> None:
        """Take another graph, or the same with other weights.

        Raises:
            UnsupportedTeacherError: It has no weight that can learn.
        """
        self.skeleton = untie(model)
        claimed = claim_graph(self.skeleton)
        body = convert_claimed(claimed).eval().requires_grad_(False)
        weights, statistics = learning_weights(self.skeleton), dict.fromkeys(stored_statistics(self.skeleton))
        found = _find_stored(self.skeleton, claimed, body, [*weights, *statistics])
        self.places = {name: place for name, place in found.items() if place.initializer not in statistics}
        self.statistics = {name: place for name, place in found.items() if place.initializer in statistics}
        if not self.places:
            raise UnsupportedTeacherError(
                "a graph with weights", "none that can learn", "choose another --student"
            )
        for name in self.places:
            _promote(body, name)
        self.network = TeacherModule(body, self.relation, whole_numbers=self.whole_numbers)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, *shape)` to logits `(B, K)`."""
        logits: Tensor = self.network(x)
        return logits

    def train(self, mode: bool = True) -> TrainableGraph:
        """Batch normalisations learn; all else stays in evaluation mode, as the graph was exported."""
        for norm in self._norms():
            norm.learning = mode
        return super().train(False)

    def weights(self) -> dict[str, nn.Parameter]:
        """Parameters by their name in the converted body."""
        return {name: self.network.body.get_parameter(name) for name in self.places}

    def calibrate(self, x: Tensor) -> None:
        """Let normalisations begin with the statistics of `(B, *shape)`; logits stay as they are."""
        seen: dict[BatchNorm, list[tuple[Tensor, Tensor]]] = {}

        def note(norm: BatchNorm, inputs: tuple[Tensor]) -> None:
            axes = [axis for axis in range(inputs[0].dim()) if axis != 1]
            seen.setdefault(norm, []).append(torch.var_mean(inputs[0].float(), axes, correction=0))

        hooks = [norm.register_forward_pre_hook(note) for norm in self._norms()]
        with torch.no_grad():
            for part in x.split(max(1, min(256, _PART // x[0].numel()))):
                self(part)
        for hook in hooks:
            hook.remove()
        for norm, parts in seen.items():
            variances, means = (torch.stack(values) for values in zip(*parts, strict=True))
            norm.start_with(means.mean(0), variances.mean(0) + means.var(0, correction=0))

    def _norms(self) -> list[BatchNorm]:
        """Batch normalisations whose statistics go back into the graph."""
        paths = dict.fromkeys(name.rpartition(".")[0] for name in self.statistics)
        found = (self.network.body.get_submodule(path) for path in paths)
        return [module for module in found if isinstance(module, BatchNorm)]

    def to_initializers(self, tensors: Mapping[str, Tensor]) -> dict[str, npt.NDArray[np.float32]]:
        """Tensors that are laid out as in the body, in the shapes of the graph's initializers."""
        dims = {tensor.name: tuple(tensor.dims) for tensor in self.skeleton.graph.initializer}
        places, arrays = self.places | self.statistics, {}
        for name, tensor in tensors.items():
            place = places[name]
            flat = torch.empty(tensor.numel(), dtype=torch.float32)
            flat[place.index] = tensor.detach().reshape(-1).float().cpu()
            arrays[place.initializer] = flat.numpy().reshape(dims[place.initializer])
        return arrays

    def from_initializers(self, arrays: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, Tensor]:
        """The inverse: tensors laid out as `weights`."""
        shapes = {name: weight.shape for name, weight in self.weights().items()}
        tensors = {}
        for name, place in self.places.items():
            flat = torch.from_numpy(arrays[place.initializer].copy()).reshape(-1)
            tensors[name] = flat[place.index].reshape(shapes[name])
        return tensors

    def model(self, weights: Mapping[str, Tensor] | None = None) -> ModelProto:
        """The graph with the weights and statistics as they are now, or with other weights in their place."""
        result, body = copy_model(self.skeleton), self.network.body
        statistics = {name: body.get_buffer(name) for name in self.statistics}
        arrays = self.to_initializers({**statistics, **(self.weights() if weights is None else weights)})
        for tensor in result.graph.initializer:
            if tensor.name in arrays:
                tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
        return result


def count_weights(student: nn.Module) -> int:
    """Numbers that the weights of a student hold in its file, without added normalisations."""
    if not isinstance(student, TrainableGraph):
        return sum(weight.numel() for weight in student.parameters())
    names = (name for name, place in student.places.items() if not place.initializer.startswith(ADDED))
    return sum(student.network.body.get_parameter(name).numel() for name in names)


def stored_arrays(model: ModelProto) -> dict[str, npt.NDArray[np.float32]]:
    """Values of all initializers by name."""
    return {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in model.graph.initializer}


def untie(model: ModelProto) -> ModelProto:
    """Give every node its own copy of a weight that several read: exporters store equal weights once."""
    result = copy_model(model)
    stored = {t.name: t for t in result.graph.initializer if t.data_type == TensorProto.FLOAT}
    seen: set[str] = set()
    for index, node in enumerate(result.graph.node):
        for place, name in (*_stored_inputs(node), *_statistics(node)):
            if name in stored and name in seen:
                copied = TensorProto()
                copied.CopyFrom(stored[name])
                copied.name = f"{name}_of_{index}_{place}"
                result.graph.initializer.append(copied)
                node.input[place] = copied.name
            seen.add(name)
    return result


def learning_weights(model: ModelProto) -> list[str]:
    """Names of the stored tensors that are weights; what scales the input itself is none."""
    wiring = Wiring(model.graph)
    inputs = {value.name for value in model.graph.input}
    found: dict[str, None] = {}
    for node in model.graph.node:
        if node.op_type in _SCALING and inputs.intersection(node.input):
            continue
        for _, name in _stored_inputs(node):
            tensor = wiring.stored.get(name)
            if tensor is not None and tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 0:
                found[name] = None
    return list(found)


def weight_roles(model: ModelProto) -> dict[str, str]:
    """What each weight is: `matrix`, `bias`, `scale` of a normalisation, `slope` of PReLU, or `table`."""
    roles: dict[str, str] = {}
    for node in model.graph.node:
        for place, name in _stored_inputs(node):
            if node.op_type.endswith("Normalization"):
                roles[name] = "scale" if place == 1 else "bias"
            elif node.op_type == "PRelu":
                roles[name] = "slope"
            elif node.op_type in ("Mul", "Div"):
                roles[name] = "scale"
            elif node.op_type in ("Add", "Sub", "Sum") or (place == 2 and node.op_type in _BIASED):
                roles[name] = "bias"
            else:
                roles[name] = "table" if node.op_type in ("Concat", "Expand") else "matrix"
    return roles


def _stored_inputs(node: NodeProto) -> list[tuple[int, str]]:
    """Places and names of the inputs of a node that are weights where they are stored."""
    if node.domain:
        return []
    return [(p, node.input[p]) for p in _LEARNING.get(node.op_type, ()) if p < len(node.input)]


def stored_statistics(model: ModelProto) -> list[str]:
    """Names of the stored means and variances of batch normalisations."""
    stored = {t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    return [name for node in model.graph.node for _, name in _statistics(node) if name in stored]


def _statistics(node: NodeProto) -> list[tuple[int, str]]:
    """Places and names of the mean and the variance of a batch normalisation."""
    if node.domain or node.op_type != "BatchNormalization":
        return []
    return list(enumerate(node.input))[3:5]


def _find_stored(
    model: ModelProto, claimed: ModelProto, body: nn.Module, names: list[str]
) -> dict[str, _Place]:
    """Which torch tensor holds which stored one, found by converting some that spell out their own place.

    Chains are fused before that: whether one is may depend on a number that is stored like a weight.
    """
    values = {name: value.reshape(-1) for name, value in stored_arrays(model).items() if name in names}
    names = [name for name in names if len(values[name]) <= _LARGEST_EXACT]
    owners = {name: np.full(len(values[name]), number) for number, name in enumerate(names, start=1)}
    orders = {name: np.arange(len(values[name])) for name in names}
    owner = _tensors(convert_claimed(_filled(claimed, owners)))
    order = _tensors(convert_claimed(_filled(claimed, orders)))
    found = {}
    for name, tensor in _tensors(body).items():
        number = _the_one(owner[name])
        if number is None or not 1 <= number <= len(names):
            continue
        place = _Place(names[number - 1], order[name].reshape(-1).long())
        # A converter may have scaled or summed the weight on the way; then it is not this weight.
        whole = torch.equal(place.index.sort().values, torch.arange(len(values[place.initializer])))
        stored = torch.from_numpy(values[place.initializer])
        if whole and torch.equal(tensor.reshape(-1), stored[place.index]):
            found[name] = place
    return found


def _the_one(tensor: Tensor) -> int | None:
    """The whole number that fills a tensor, None where there is none."""
    flat = tensor.reshape(-1)
    if not len(flat) or not bool((flat == flat[0]).all()) or float(flat[0]) != round(float(flat[0])):
        return None
    return int(flat[0])


def _filled(model: ModelProto, values: Mapping[str, npt.NDArray[np.generic]]) -> ModelProto:
    result = copy_model(model)
    for tensor in result.graph.initializer:
        if tensor.name in values:
            filled = values[tensor.name].astype(np.float32).reshape(tuple(tensor.dims))
            tensor.CopyFrom(numpy_helper.from_array(filled, tensor.name))
    return result


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach()
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
        if tensor.dtype == torch.float32
    }


def _promote(body: nn.Module, name: str) -> None:
    """Make a stored tensor a parameter that learns."""
    path, _, leaf = name.rpartition(".")
    owner = body.get_submodule(path)
    tensor = owner.get_parameter(leaf) if leaf in owner._parameters else owner.get_buffer(leaf)
    owner._buffers.pop(leaf, None)
    owner.register_parameter(leaf, nn.Parameter(tensor.detach().clone()))
