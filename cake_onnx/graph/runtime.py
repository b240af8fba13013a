"""onnxruntime: the judge of every conversion and export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cake_onnx.errors import RunFailedError, UnsupportedTeacherError, UsageError, first_line
from cake_onnx.graph.specs import InputSpec, OutputKind, OutputSpec
from cake_onnx.graph.sums import EXACT, sums_are_cut

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

Array = npt.NDArray[np.float32]

_LOG_ERRORS_ONLY = 4


def open_session(
    model: bytes | Path,
    provider: str = "CPUExecutionProvider",
    threads: int | None = None,
    *,
    optimised: bool = True,
) -> InferenceSession:
    """Open a model with exactly one execution provider; there is no silent fallback.

    Args:
        model: The serialised model, or its file (needed where weights lie beside it).
        provider: onnxruntime's name of the provider.
        threads: Threads within an operator, None for onnxruntime's own choice.
        optimised: False runs the operators as they stand; fused integer kernels round at other places.
            On processors that cut sums off (`sums_are_cut`) only optimised sessions are exact.

    Raises:
        UsageError: onnxruntime is not installed or has no such provider.
        UnsupportedTeacherError: onnxruntime refuses the model.
    """
    ort = _import_onnxruntime()
    available = ort.get_available_providers()
    if provider not in available:
        raise UsageError(
            f"execution provider {provider}",
            f"{', '.join(available)} in this onnxruntime",
            "install cake-onnx[gpu] for CUDA, or choose the CPU",
        )
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_ERRORS_ONLY
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if threads is not None:
        options.intra_op_num_threads = threads
    content = str(model) if isinstance(model, Path) else model
    session = _open(ort, content, options, provider, exact=sums_are_cut())
    if session.get_providers()[0] != provider:
        raise UsageError(
            f"a session on {provider}",
            f"onnxruntime fell back to {session.get_providers()[0]}",
            "repair the driver installation, or choose the CPU",
        )
    return session


def scores(session: InferenceSession, input: InputSpec, output: OutputSpec, x: Array) -> Array:
    """What the model says, one row a sample, in the units of its own score output.

    Args:
        session: An open model with the signature that `input` and `output` describe.
        input: The data input.
        output: The score output.
        x: `(B, *shape)` in the model's input units; rounded where the model takes integers.

    Returns:
        `(B, K)` scores. A single-probability output becomes the columns `(1 - p, p)`.

    Raises:
        RunFailedError: onnxruntime failed on valid input.
    """
    fixed = fixed_batch(session, input.name)
    fed = as_declared(x, input)
    if fixed is None:
        return _unpack(_run(session, input, output, fed), len(x), output)
    rows = [_padded_run(session, input, output, fed[i : i + fixed], fixed) for i in range(0, len(x), fixed)]
    return np.concatenate(rows)


def run_constants(model: ModelProto) -> list[npt.NDArray[Any]]:
    """All outputs of a model without inputs, in order.

    Raises:
        UnsupportedTeacherError: onnxruntime refuses the model or cannot run it.
    """
    session = open_session(model.SerializeToString(), threads=1)
    try:
        return [np.asarray(value) for value in session.run(None, {})]
    except Exception as error:  # onnxruntime's own classes share no public base
        raise UnsupportedTeacherError(
            "constants that onnxruntime can compute",
            first_line(error),
            "simplify the model and export it again",
        ) from error


def probabilities(scores: Array, kind: OutputKind) -> Array:
    """Class probabilities `(B, K)` from scores `(B, K)`: softmax of logits, everything else as it is."""
    if kind != "logits":
        return scores
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)


def as_declared(x: Array, input: InputSpec) -> npt.NDArray[Any]:
    """`x` in the element type the model declares; rounded and clipped to the type for integers."""
    dtype = np.dtype(input.dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.clip(np.rint(x), info.min, info.max).astype(dtype)
    return x.astype(dtype)


def fixed_batch(session: InferenceSession, name: str) -> int | None:
    """The literal first dimension of an input, None where any batch is taken."""
    for entry in session.get_inputs():
        if entry.name == name and entry.shape and isinstance(entry.shape[0], int):
            return int(entry.shape[0])
    return None


def draw_inputs(input: InputSpec, n: int, seed: int) -> Array:
    """`(n, *shape)` uniform draws within the bounds, whole numbers where the model takes integers."""
    low, high = bound_arrays(input)
    drawn = np.random.default_rng(seed).uniform(low, high, (n, *input.shape)).astype(np.float32)
    return np.rint(drawn) if np.dtype(input.dtype).kind in "iu" else drawn


def bound_arrays(input: InputSpec) -> tuple[Array, Array]:
    """Bounds as two arrays that broadcast against `(B, *shape)`."""
    low, high = (np.asarray(side, np.float32) for side in (input.bounds.low, input.bounds.high))
    return low.reshape(input.bounds_shape), high.reshape(input.bounds_shape)


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(
            "onnxruntime", "no working installation of it", "install `cake-onnx[cpu]` or `cake-onnx[gpu]`"
        ) from error
    return onnxruntime


def _open(ort: Any, content: str | bytes, options: Any, provider: str, *, exact: bool) -> InferenceSession:
    """A session whose sums of int8 products are exact if asked for and if onnxruntime can."""
    options.add_session_config_entry(EXACT, "1" if exact else "0")
    try:
        session: InferenceSession = ort.InferenceSession(content, options, providers=[provider])
    except Exception as error:  # onnxruntime's own classes share no public base
        if exact:
            return _open(ort, content, options, provider, exact=False)
        raise UnsupportedTeacherError(
            "a model that onnxruntime loads", first_line(error), "check the file with onnxruntime itself"
        ) from error
    return session


def _run(session: InferenceSession, input: InputSpec, output: OutputSpec, fed: npt.NDArray[Any]) -> Any:
    try:
        return session.run([output.scores], {input.name: fed})[0]
    except Exception as error:  # onnxruntime's own classes share no public base
        raise RunFailedError(
            f"onnxruntime to run the model on {list(fed.shape)} {fed.dtype}",
            first_line(error),
            "check the input shape and the batch axis of the model",
        ) from error


def _padded_run(
    session: InferenceSession, input: InputSpec, output: OutputSpec, chunk: npt.NDArray[Any], fixed: int
) -> Array:
    missing = fixed - len(chunk)
    if missing:
        chunk = np.concatenate([chunk, np.repeat(chunk[-1:], missing, axis=0)])
    return _unpack(_run(session, input, output, chunk), fixed, output)[: fixed - missing]


def _unpack(raw: Any, batch: int, output: OutputSpec) -> Array:
    """`(B, K)` from a tensor of any rank or from ZipMap's list of maps."""
    if isinstance(raw, list):
        raw = [_in_class_order(row, output) for row in raw]
    table = np.asarray(raw, dtype=np.float32)
    if table.size % batch:
        raise RunFailedError(
            f"a score output with one row for each of {batch} samples",
            f"'{output.scores}' of shape {list(table.shape)}",
            "check which axis of the model is the batch",
        )
    table = table.reshape(batch, -1)
    if table.shape[1] == 1 and output.classes == 2:
        pair = (-table / 2, table / 2) if output.kind == "logits" else (1 - table, table)
        return np.concatenate(pair, axis=1)
    return table


def _in_class_order(row: dict[Any, float], output: OutputSpec) -> list[float]:
    # onnxruntime hands maps out sorted by key, which need not be the order of the classes.
    by_name = {str(key): value for key, value in row.items()}
    return [by_name[name] for name in output.class_names or by_name]


def run_all(session: InferenceSession, names: Sequence[str], feed: dict[str, npt.NDArray[Any]]) -> list[Any]:
    """Several outputs of one run.

    Raises:
        RunFailedError: onnxruntime failed.
    """
    try:
        return list(session.run(list(names), feed))
    except Exception as error:  # onnxruntime's own classes share no public base
        raise RunFailedError(
            "onnxruntime to run the model", first_line(error), "check the batch axis of the model"
        ) from error
