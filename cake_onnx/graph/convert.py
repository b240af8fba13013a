"""From a prepared graph to a differentiable torch module."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from typing import Self

import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.batching import Way, let_any_batch_through
from cake_onnx.graph.cut import Relation
from cake_onnx.graph.fusion import fuse_chains
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.refuse import fewest_outputs, refuse_unsupported, since_version
from cake_onnx.graph.relation import to_logits
from cake_onnx.graph.shapes import infer_shapes
from cake_onnx.graph.sizes import settle_sizes
from cake_onnx.graph.specs import InputSpec
from cake_onnx.graph.tensors import copy_model

_FLOATS = (TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


class TeacherModule(nn.Module):
    """A converted teacher.

    Args:
        body: Maps `(B, *shape)` to the raw score tensor, for any B.
        relation: How logits follow from that tensor, see `Cut`.
        whole_numbers: The teacher takes integers, so inputs are rounded (straight-through).
        way: How the body takes its samples, in words.
    """

    def __init__(
        self, body: nn.Module, relation: Relation, *, whole_numbers: bool, way: Way = "any batch at once"
    ) -> None:
        super().__init__()
        self.body = body
        self.relation: Relation = relation
        self.whole_numbers = whole_numbers
        self.way: Way = way

    def forward(self, x: Tensor) -> Tensor:
        """`(B, *shape)` float32 in the teacher's input units to `(B, K)` logits."""
        if self.whole_numbers:
            x = x + (x.round() - x).detach()
        return to_logits(self.body(x).reshape(len(x), -1), self.relation)

    def extra_repr(self) -> str:
        """How samples are taken."""
        return self.way

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # A weight that several nodes read is one tensor; torch would move it once for each of them.
        moved: dict[int, tuple[Tensor, Tensor]] = {}

        def once(tensor: Tensor) -> Tensor:
            if id(tensor) not in moved:
                moved[id(tensor)] = (tensor, fn(tensor))
            return moved[id(tensor)][1]

        super()._apply(once, recurse)  # type: ignore[no-untyped-call]
        return self


def convert(prepared: Prepared, input: InputSpec) -> TeacherModule:
    """Convert a prepared teacher.

    Args:
        prepared: The teacher's body and how it was cut.
        input: Its data input.

    Returns:
        A module in evaluation mode without trainable parameters: `(B, *shape)` float32 in the teacher's own
        units to `(B, K)` logits. It is not yet compared with onnxruntime: `check_parity` does that.

    Raises:
        UnsupportedTeacherError: An operator has no differentiable counterpart here, or the graph is tied to a
            batch whose samples depend on each other.
    """
    converted = share_equal_tensors(convert_graph(prepared.body).eval().requires_grad_(False))
    body, way = let_any_batch_through(converted, prepared, input)
    whole_numbers = input.dtype.startswith(("int", "uint"))
    module = TeacherModule(body, prepared.cut.relation, whole_numbers=whole_numbers, way=way)
    return module.eval().requires_grad_(False)


def share_equal_tensors(module: nn.Module) -> nn.Module:
    """Store tensors that are equal once; onnx2torch copies an initializer for every node that reads it.

    The module is changed in place. It must not learn: shared weights would learn together.
    """
    kept: dict[tuple[torch.dtype, torch.Size, bytes], Tensor] = {}
    for part in module.modules():
        for stored in (part._parameters, part._buffers):
            for name, tensor in stored.items():
                if tensor is not None:
                    key = (tensor.dtype, tensor.shape, _digest(tensor))
                    # A parameter cannot stand where a buffer stood, nor the other way round.
                    twin = kept.setdefault(key, tensor)
                    stored[name] = twin if type(twin) is type(tensor) else tensor  # type: ignore[assignment]
    return module


def _digest(tensor: Tensor) -> bytes:
    # A copy: a single number counts as contiguous even with a stride of 0, which has no view as bytes.
    flat = tensor.detach().reshape(-1).clone(memory_format=torch.contiguous_format)
    return hashlib.blake2b(flat.view(torch.uint8).numpy().data, digest_size=16).digest()


def convert_graph(body: ModelProto) -> nn.Module:
    """Convert a plain graph with one input and one output, as `prepare` makes them.

    Submodules are named `n<place>_...` after the places of their nodes in the graph; one in place of a chain
    has the place of its last node.

    Raises:
        UnsupportedTeacherError: An operator, or the way it is used, has no differentiable counterpart here.
    """
    return convert_claimed(claim_graph(body))


def claim_graph(body: ModelProto) -> ModelProto:
    """What `convert_graph` converts: sizes computed, chains fused, every node in the domain of its converter.

    Raises:
        UnsupportedTeacherError: An operator has no differentiable counterpart here.
    """
    refuse_unsupported(body)
    sized = settle_sizes(infer_shapes(number_nodes(body)))
    return claim_operators(fuse_chains(end_in_identity(trim_outputs(use_float32(sized)))))


def convert_claimed(model: ModelProto) -> nn.Module:
    """Convert what `claim_graph` gives, whatever its weights.

    Raises:
        UnsupportedTeacherError: An operator is used in a way that has no differentiable counterpart here.
    """
    from cake_onnx.graph.engine import convert_inferred

    try:
        with warnings.catch_warnings():
            # onnx2torch wraps arrays it has just copied; torch warns about those that are not writable.
            warnings.simplefilter("ignore", UserWarning)
            module: nn.Module = convert_inferred(model)
    except (
        NotImplementedError,
        ValueError,
        KeyError,
        RuntimeError,
        TypeError,
        IndexError,
        AttributeError,
    ) as error:
        raise UnsupportedTeacherError(
            "operators used in a way that can be converted",
            f"{type(error).__name__}: {error}",
            "export the model with other settings, for example a newer opset",
        ) from error
    return module


def use_float32(model: ModelProto) -> ModelProto:
    """Store half and double weights as float32; casts between float widths become no-ops in conversion."""
    result = copy_model(model)
    for tensor in result.graph.initializer:
        if tensor.data_type in _FLOATS:
            values = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return result


def trim_outputs(model: ModelProto) -> ModelProto:
    """Drop trailing optional outputs that nobody reads; onnx2torch mistakes them for a batch to index.

    Outputs that the operator must have, such as the indices of TopK, stay.
    """
    result = copy_model(model)
    read = {name for node in result.graph.node for name in node.input}
    read |= {value.name for value in result.graph.output}
    for node in result.graph.node:
        # The number of outputs of a Split says how large its parts are.
        needed = len(node.output) if node.op_type == "Split" else max(1, fewest_outputs(result, node))
        while len(node.output) > needed and node.output[-1] not in read:
            node.output.pop()
    return result


def end_in_identity(model: ModelProto) -> ModelProto:
    """Let a node with one output make the graph output; onnx2torch returns whole nodes, not their outputs."""
    result = copy_model(model)
    output = result.graph.output[0]
    inner = output.name
    output.name = f"{inner}_raw_scores"
    result.graph.node.append(helper.make_node("Identity", [inner], [output.name], name="raw_scores"))
    return result


def number_nodes(model: ModelProto) -> ModelProto:
    """Name nodes by their places. Any text is a legal ONNX name, but not a legal name of a torch module."""
    result = copy_model(model)
    for index, node in enumerate(result.graph.node):
        node.name = f"n{index}_{node.op_type}"
    return result


def claim_operators(model: ModelProto) -> ModelProto:
    """Move the nodes we convert ourselves to our private domains; fused ones are there already."""
    from cake_onnx.graph.operators import registry

    result = copy_model(model)
    domains = {}
    for node in result.graph.node:
        version = since_version(model, node)
        if registry.is_ours(node.domain, node.op_type, version):
            node.domain = registry.own_domain(node.domain, version)
            domains[node.domain] = version
    imported = {entry.domain for entry in result.opset_import}
    result.opset_import.extend(
        helper.make_opsetid(domain, version) for domain, version in domains.items() if domain not in imported
    )
    return result
