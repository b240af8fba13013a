"""Sizes that people wish for, in bytes or in time, turned into sizes that a student can be built at.

Both are found by exporting candidates that have learnt nothing, and by weighing or timing these.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cake_onnx.config import Config
from cake_onnx.errors import UsageError
from cake_onnx.graph.channels import Goal
from cake_onnx.graph.latency import latency, latency_ratios
from cake_onnx.graph.runtime import open_session
from cake_onnx.judge.verdict import CPU, LATENCY_THREADS
from cake_onnx.methods.candidates import Candidate, Candidates, candidates_for
from cake_onnx.teacher import Teacher

_log = logging.getLogger(__name__)

_TRIES = 7
_CLOSE = 0.97
"""A student that uses this share of what it may have is large enough."""
_AIM = 0.99
_SAME = 0.01
"""Sizes that are closer are mostly those of the same student."""
_MARGIN = 1.05
_BLOCKS = (16, 8, 1)
"""Channels that convolutions may be computed in at once: with AVX-512 or on Arm, with AVX2, and by others."""
_SAFE = 0.99
"""Of the time allowed, since the next to time it finds a little more or less."""
_SHORTER = 0.95
_SLOWER = 1.1
_NEAR = 0.8
_TURNS = (5, 15)
_SECONDS = 0.8
"""Of all turns of one candidate, about, where the fewest turns do not take longer."""
_TURN_SECONDS = 0.03


def settle_size(
    teacher: Teacher, config: Config, settled: Mapping[str, Any] | None = None, provider: str | None = CPU
) -> Config:
    """The options with `compression`, or `max_operations` and `channel_block`, in place of a wish.

    Args:
        teacher: Whose student it will be.
        config: Options, with a wish or without.
        settled: `size` and `block` that an interrupted run settled on, so that this one goes on with them.
        provider: onnxruntime's name of the execution provider on which time is taken, None where it has none.

    Raises:
        UsageError: The wish cannot be fulfilled; the message says what can.
    """
    if config.max_size is None and config.max_latency_ratio is None:
        return config
    goal: Goal = "parameters" if config.max_size is not None else "operations"
    if settled is not None and "size" in settled:
        (candidates,) = candidates_for(teacher, config, goal, (settled.get("block"),))
        return candidates.settled(settled["size"])
    if config.max_size is not None:
        return _within_bytes(teacher, config, config.max_size)
    if provider is None:
        raise UsageError("a provider to take time on, for --max-latency-ratio", "none", "use --compression")
    return _within_time(teacher, config, config.max_latency_ratio or 1.0, provider)


def _within_bytes(teacher: Teacher, config: Config, most: int) -> Config:
    (candidates,) = candidates_for(teacher, config, "parameters", (config.channel_block,))
    found = _largest(candidates, candidates.low, candidates.high, lambda one: len(one.file), most)
    if isinstance(found, _Impossible):
        raise _refusal(found, f"{most:,} bytes", "{:,.0f} bytes", "--max-size {:.0f}")
    return candidates.settled(found.size)


def _within_time(teacher: Teacher, config: Config, ratio: float, provider: str) -> Config:
    """The largest student that is fast enough, in the blocks that the processor seems to compute in."""
    timed, aim = _Stopwatch(teacher, config.latency_batch, provider), _SAFE * ratio
    asked = config.channel_block
    blocks = _BLOCKS if asked is None and "convolution" in teacher.traits else (asked,)
    first, *others = candidates_for(teacher, config, "operations", blocks)
    smallest = first.of(first.low)
    least = timed.ratio(smallest)
    if least > ratio:
        what = f"{ratio:g} of the teacher's time for {config.latency_batch} samples on {provider}"
        raise _refusal(_Impossible(least), what, "{:.2f}", "--max-latency-ratio {:.2f}")
    found = _largest(first, first.low, first.high, timed.ratio, aim)
    chosen, best = first, smallest if isinstance(found, _Impossible) else found
    for other in others:
        # At the same operations the wrong blocks are much slower; what is about as fast may hold more.
        if timed.ratio(other.of(best.size)) <= _SLOWER * aim:
            low = max(other.low, int(_NEAR * best.size))
            found = _largest(other, low, other.high, timed.ratio, aim)
            if not isinstance(found, _Impossible) and len(found.file) > len(best.file):
                chosen, best = other, found
    while best.size > chosen.low and timed.again(best.file) > ratio:
        best = chosen.of(max(chosen.low, int(_SHORTER * best.size)))
    return chosen.settled(best.size)


@dataclass(frozen=True)
class _Impossible:
    """What the smallest student needs, which is more than was wished for."""

    needs: float


def _largest(
    candidates: Candidates, low: int, high: int, measure: Callable[[Candidate], float], most: float
) -> Candidate | _Impossible:
    """The largest candidate found of which no more than `most` is measured, within a few tries."""
    best, whole = candidates.of(low), candidates.of(high)
    least, largest = measure(best), measure(whole)
    if least > most:
        return _Impossible(least)
    if largest <= most:
        return whole
    for turn in range(_TRIES):
        # Bytes lie on a line over parameters, and time nearly so; where it does not, halving helps.
        along = (_AIM * most - least) / (largest - least) if turn % 3 < 2 else 0.5
        middle = min(high - 1, max(low + 1, round(low + along * (high - low))))
        found = candidates.of(middle)
        needed = measure(found)
        _log.info("a student of size %d: %.4g of %.4g allowed", found.size, needed, most)
        # Between what was asked for and what the candidate has, all sizes are those of this candidate.
        if needed > most:
            high, largest = found.size, needed
        else:
            low, least, best = middle, needed, found
            if needed >= _CLOSE * most:
                break
        if high - low < max(2, _SAME * high):
            break
    return best


def _refusal(impossible: _Impossible, wish: str, number: str, option: str) -> UsageError:
    # A little more than measured, so that the advice holds when it is measured again.
    enough = option.format(impossible.needs * _MARGIN)
    found = f"{number.format(impossible.needs)} in the smallest form"
    return UsageError(
        f"a student of at most {wish}", found, f"ask for `{enough}` or more, or another --student"
    )


class _Stopwatch:
    """Times candidates against the teacher, in turns."""

    def __init__(self, teacher: Teacher, batch: int, provider: str) -> None:
        self._input, self._batch, self._provider = teacher.input, batch, provider
        self._threads = LATENCY_THREADS if provider == CPU else None
        # On a busy machine the time that passes is mostly that of others.
        self._clock = time.thread_time if self._threads == 1 else time.perf_counter
        self._teacher = open_session(teacher.data, provider, self._threads)
        once = latency(self._teacher, self._input, (batch,), 3, 1, self._clock)[0].median_ms / 1000
        self._repeats = max(1, min(20, int(_TURN_SECONDS / max(1e-6, once))))
        turns = int(_SECONDS / (2 * (self._repeats + 1) * max(1e-6, once)))
        self._turns = max(_TURNS[0], min(_TURNS[1], turns))
        self._known: dict[bytes, float] = {}

    def ratio(self, candidate: Candidate) -> float:
        """Time of a candidate over the teacher's, the median over the turns; the same file is timed once."""
        if candidate.file not in self._known:
            self._known[candidate.file] = self.again(candidate.file)
        return self._known[candidate.file]

    def again(self, model: bytes) -> float:
        """The same, timed anew."""
        student = open_session(model, self._provider, self._threads)
        ratios = latency_ratios(
            student, self._teacher, self._input, self._batch, self._turns, self._repeats, 1, self._clock
        )
        return statistics.median(ratios)
