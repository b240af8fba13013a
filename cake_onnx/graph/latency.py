"""The stopwatch: how long models take in onnxruntime."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cake_onnx.graph.runtime import as_declared, draw_inputs, fixed_batch
from cake_onnx.graph.specs import InputSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


@dataclass(frozen=True)
class Latency:
    """How long one run takes.

    Attributes:
        batch: Samples a run.
        median_ms: Median milliseconds of a run.
        p10_ms: Tenth percentile, milliseconds.
        p90_ms: Ninetieth percentile, milliseconds.
        n: Runs measured.
    """

    batch: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    n: int


def latency(
    session: InferenceSession,
    input: InputSpec,
    batch_sizes: Sequence[int] = (1, 8, 64),
    repeats: int = 50,
    warm_up: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Latency]:
    """Time whole runs, all outputs, on random input within the bounds.

    Args:
        session: An open model.
        input: Its data input.
        batch_sizes: Samples a run; a model with a fixed batch is measured at that batch alone.
        repeats: Timed runs of each batch size, at least 1.
        warm_up: Untimed runs before them.
        clock: Tells seconds; `time.thread_time` leaves out what others do, in sessions of one thread.
    """
    fixed = fixed_batch(session, input.name)
    rows = []
    for batch in batch_sizes if fixed is None else (fixed,):
        feed = {input.name: as_declared(draw_inputs(input, batch, seed=0), input)}
        for _ in range(warm_up):
            session.run(None, feed)
        times = []
        for _ in range(repeats):
            start = clock()
            session.run(None, feed)
            times.append((clock() - start) * 1e3)
        p10, median, p90 = np.percentile(times, (10, 50, 90))
        rows.append(Latency(batch, float(median), float(p10), float(p90), repeats))
    return rows


def latency_ratios(
    session: InferenceSession,
    reference: InferenceSession,
    input: InputSpec,
    batch: int,
    turns: int,
    repeats: int,
    warm_up: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Median time of one model over that of another, once a turn.

    They are timed in turns, so that other work on the machine meets both.

    Args:
        session: An open model.
        reference: Another one, for the same input.
        input: Their data input.
        batch: Samples a run.
        turns: Ratios to take.
        repeats: Timed runs of each model a turn.
        warm_up: Untimed runs before them.
        clock: As for `latency`.
    """
    ratios = []
    for _ in range(turns):
        one, other = (
            latency(each, input, (batch,), repeats, warm_up, clock)[0].median_ms
            for each in (session, reference)
        )
        ratios.append(one / other)
    return ratios
