"""Where a conversion goes wrong: the first node whose value is not the one onnxruntime gives it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto, NodeProto
from torch import Tensor, nn

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.inspect import is_quantised
from cake_onnx.graph.intermediates import Values, inner_values
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.probes import draw_probes
from cake_onnx.graph.refuse import since_version
from cake_onnx.graph.runtime import Array
from cake_onnx.graph.specs import InputSpec

_RELATIVE = 1e-3
_QUANTISED_RELATIVE = 5e-2
_FLIPPED = 0.1
"""Share of the numbers of a quantised tensor that may be one off: roundings that fell otherwise."""


@dataclass(frozen=True)
class Divergence:
    """A node that gives something else.

    Attributes:
        node: Its name, or that of its output where it has none.
        operator: Domain, operator and since-version.
        wanted_shape: Of the tensor by onnxruntime.
        found_shape: Of the tensor by the conversion.
        difference: The largest of any element, NaN where the shapes differ.
        sample: What kind of input showed it.
        error: What it raised instead, empty where it ran.
    """

    node: str
    operator: str
    wanted_shape: tuple[int, ...]
    found_shape: tuple[int, ...]
    difference: float
    sample: str
    error: str = ""

    def __str__(self) -> str:
        shape = list(self.wanted_shape)
        if self.error:
            return f"node '{self.node}', {self.operator}, shape {shape}: does not run, {self.error}"
        if self.wanted_shape != self.found_shape:
            return f"node '{self.node}', {self.operator}: shape {list(self.found_shape)} for {shape}"
        off = f"off by {self.difference:.3g} on {self.sample}"
        return f"node '{self.node}', {self.operator}, shape {shape}: {off}"


@dataclass(frozen=True)
class Trace:
    """What a comparison of all inner tensors showed.

    Attributes:
        first: The first node that differs, None where none does.
        nodes: Nodes compared.
        samples: Inputs compared.
        largest: Largest difference of any element that was within the tolerance, over the largest element of
            its tensor, each node given the same values.
    """

    first: Divergence | None
    nodes: int
    samples: int
    largest: float


def trace(prepared: Prepared, input: InputSpec, seed: int = 0) -> Trace:
    """Run every inner tensor of a prepared body in onnxruntime and in torch, one sample of each kind.

    Of a chain that is one module in torch, what comes out is compared.

    Raises:
        UnsupportedTeacherError: The body does not convert, or onnxruntime does not show its inner tensors.
    """
    body, size = prepared.body, prepared.fixed_batch or 1
    module = convert_graph(body).eval().requires_grad_(False)
    probes = draw_probes(input, seed)
    places = {kind: i for i, kind in reversed(list(enumerate(probes.kinds)))}
    loose = is_quantised(body)
    largest, nodes = 0.0, 0
    for kind, place in sorted(places.items(), key=lambda item: item[1]):
        x = np.repeat(probes.x[place : place + 1], size, axis=0)
        try:
            wanted = inner_values(body, input, x)
        except UnsupportedTeacherError:
            if probes.beyond[place]:
                continue
            raise
        found, error = _torch_values(module, x, wanted)
        compared = [(node, name) for node, name in _in_order(body, wanted) if name in found]
        for node, name in compared:
            difference = _difference(found[name], wanted[name], loose=loose)
            if difference is None:
                first = _told(body, node, name, found[name], wanted[name], kind)
                return Trace(first, len(compared), len(places), largest)
            largest = max(largest, difference)
        if error:
            made = {name for mapping in _mappings(module).values() for name in mapping.outputs}
            left = made - found.keys()
            node, name = next(pair for pair in _in_order(body, wanted) if pair[1] in left)
            first = _told(body, node, name, wanted[name], wanted[name], kind)
            return Trace(replace(first, error=error), len(compared), len(places), largest)
        nodes = len(compared)
    return Trace(None, nodes, len(places), largest)


def _in_order(body: ModelProto, wanted: Values) -> Iterator[tuple[NodeProto, str]]:
    for node in body.graph.node:
        for name in node.output:
            if name in wanted:
                yield node, name


def _mappings(module: nn.Module) -> dict[nn.Module, Any]:
    """Submodules that say which tensors of the graph they read and make."""
    found = {part: getattr(part, "onnx_mapping", None) for part in module.children()}
    return {part: mapping for part, mapping in found.items() if mapping is not None}


def _torch_values(module: nn.Module, x: Array, wanted: Values) -> tuple[Values, str]:
    """What every module of a converted graph makes of onnxruntime's values, by the name of the tensor.

    No difference is handed on, so that each node answers for itself. A crash ends the values early and is the
    text beside them.
    """
    values: Values = {}
    handles = [
        part.register_forward_hook(_Recorder(values, wanted, tuple(mapping.outputs)))
        for part, mapping in _mappings(module).items()
    ]
    error = ""
    try:
        with torch.no_grad():
            module(torch.from_numpy(x))
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as raised:
        error = f"{type(raised).__name__}: {str(raised).partition(chr(10))[0]}"
    finally:
        for handle in handles:
            handle.remove()
    return values, error


@dataclass(frozen=True)
class _Recorder:
    """A forward hook that keeps what a module gave, and hands on what onnxruntime gave."""

    values: Values
    wanted: Values
    names: tuple[str, ...]

    def __call__(self, module: nn.Module, inputs: object, output: object) -> object:
        """The output to go on with."""
        if isinstance(output, (tuple, list)) and len(self.names) > 1:
            return tuple(self._seen(name, value) for name, value in zip(self.names, output, strict=False))
        return self._seen(self.names[0], output)

    def _seen(self, name: str, value: object) -> object:
        if not isinstance(value, Tensor):
            return value
        self.values[name] = value.detach().cpu().numpy().copy()
        wanted = self.wanted.get(name)
        if wanted is None or wanted.shape != tuple(value.shape):
            return value
        return torch.from_numpy(np.array(wanted)).to(value.dtype)


def _difference(found: npt.NDArray[Any], wanted: npt.NDArray[Any], *, loose: bool) -> float | None:
    """The largest difference over the largest element, None where it is more than rounding."""
    if found.shape != wanted.shape:
        return None
    if wanted.size == 0:
        return 0.0
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    size = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
    whole = wanted.dtype.kind in "iub"
    if whole and not loose:
        return 0.0 if not apart.any() else None
    if whole:
        fits = bool(apart.max() <= 1) and float((apart > 0).mean()) <= _FLIPPED
    else:
        half = wanted.dtype == np.float16
        fits = bool(apart.max() <= (_QUANTISED_RELATIVE if loose or half else _RELATIVE) * size + 1e-6)
    return float(apart.max() / max(size, 1e-30)) if fits else None


def _told(
    body: ModelProto,
    node: NodeProto,
    name: str,
    found: npt.NDArray[Any],
    wanted: npt.NDArray[Any],
    kind: str,
) -> Divergence:
    same = found.shape == wanted.shape
    off = float(np.abs(found.astype(np.float64) - wanted).max()) if same else float("nan")
    domain = f"{node.domain}." if node.domain else ""
    operator = f"{domain}{node.op_type}-{since_version(body, node)}"
    return Divergence(node.name or name, operator, wanted.shape, found.shape, off, kind)
