"""Where to cut: the widths that a graph of a given size should have, by what its channels are worth."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from cake_onnx.errors import UsageError
from cake_onnx.graph.channels.sizes import Sizes, Widths


def plan_widths(sizes: Sizes, target: int, importance: Mapping[int, float]) -> Widths:
    """Drop what matters least for its cost until the size is `target`; the widths then.

    Whole blocks of channels go (see `Group`), the least important of each group first. Blocks that turn out
    not to be in the way are given back; in parts too, unless `sizes` knows what is computed at once. `sizes`
    is left as it was.

    Raises:
        UsageError: The graph cannot be that small.
    """
    given: list[tuple[int, list[int]]] = []
    waiting = [entry for index in range(len(sizes.groups)) if (entry := _next(sizes, index, importance))]
    heapq.heapify(waiting)
    while sizes.size > target:
        if not waiting:
            found = sizes.size
            _undo(sizes, given)
            raise UsageError(
                f"a size of {target:,} {sizes.goal}",
                f"{found:,} in the narrowest form of this graph",
                "ask for less compression, or for another --student",
            )
        price, index, block = heapq.heappop(waiting)
        fresh = _next(sizes, index, importance)
        if fresh is None:
            continue
        # Others went meanwhile, so the block may save less than thought.
        if fresh[0] > price and waiting and fresh[0] > waiting[0][0]:
            heapq.heappush(waiting, fresh)
            continue
        sizes.drop(block)
        given.append((index, block))
        if following := _next(sizes, index, importance):
            heapq.heappush(waiting, following)
    closed = set[int]()
    for index, block in reversed(given):
        # What went earlier from a group comes back only on top of what went later, or blocks would break.
        if index not in closed and not _give_back(sizes, block, target) and sizes.block is not None:
            closed.add(index)
    widths = sizes.widths
    _undo(sizes, given)
    return widths


def _give_back(sizes: Sizes, block: list[int], target: int) -> bool:
    """Take back as much of a block as fits into the target, what matters most first; whether all did."""
    whole = count = len(block)
    while count:
        part = block[-count:]
        sizes.take_back(part)
        if sizes.size <= target:
            del block[-count:]
            break
        sizes.drop(part)
        count = 0 if sizes.block is not None else count // 2
    return count == whole


def narrowest(sizes: Sizes) -> int:
    """Size of the smallest form of a graph. `sizes` is left as it was."""
    given: list[tuple[int, list[int]]] = []
    for index in range(len(sizes.groups)):
        while block := _next(sizes, index, {}):
            sizes.drop(block[2])
            given.append((index, block[2]))
    found = sizes.size
    _undo(sizes, given)
    return found


def _next(sizes: Sizes, index: int, importance: Mapping[int, float]) -> tuple[float, int, list[int]] | None:
    """Price, group and items of the next block that a group may lose; None where it may lose none."""
    group = sizes.groups[index]
    left = sorted(sizes.left(group), key=lambda item: (importance.get(item, 0.0), item))
    count = len(left) % group.block or group.block
    while count and not sizes.may_drop(left[:count]):
        count //= 2
    block = left[:count]
    if not block:
        return None
    saved = sizes.saving(block)
    return (sum(importance.get(item, 0.0) for item in block) / saved, index, block) if saved > 0 else None


def _undo(sizes: Sizes, given: list[tuple[int, list[int]]]) -> None:
    for _, block in given:
        sizes.take_back(block)


def next_drops(
    sizes: Sizes, widths: Widths, starts: Widths, progress: float, importance: Mapping[int, float]
) -> list[int]:
    """Items that go now, on the way from the widths of the start to the planned ones.

    Args:
        sizes: As the graph is.
        widths: As planned.
        starts: As the teacher was.
        progress: Share of the way that shall be behind us, (0, 1].
        importance: Of every item.
    """
    drops: list[int] = []
    for group in sizes.groups:
        final = widths[group.keys]
        wanted = final + round((starts[group.keys] - final) * (1 - progress))
        left = sorted(sizes.left(group), key=lambda item: (importance.get(item, 0.0), item))
        drops += left[: max(0, len(left) - wanted)]
    return drops
