from __future__ import annotations

import pytest

from cake_onnx.errors import UsageError
from cake_onnx.graph.channels import Sizes, follow_channels, narrow, narrowest, next_drops, plan_widths
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.specs import InputSpec

Network = tuple[Prepared, InputSpec]


def parameters(channels: object) -> int:
    return Sizes(channels).parameters  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_a_plan_reaches_its_target_and_little_more(network: Network, share: float) -> None:
    prepared, input = network
    channels = follow_channels(prepared.body, input)
    sizes = Sizes(channels)
    whole, least = sizes.parameters, narrowest(sizes)
    target = int(least + share * (whole - least))
    importance = {item: 1.0 + index % 7 for index, item in enumerate(channels.droppable())}
    widths = plan_widths(sizes, target, importance)
    assert sizes.parameters == whole
    starts = {group.keys: len(group.items) for group in sizes.groups}
    smaller = narrow(channels, next_drops(sizes, widths, starts, 1.0, importance))
    left = parameters(follow_channels(smaller, input))
    assert left <= target
    assert left >= target - whole / 4


def test_what_matters_stays(network: Network) -> None:
    prepared, input = network
    channels = follow_channels(prepared.body, input)
    sizes = Sizes(channels)
    widest = max(sizes.groups, key=lambda group: len(group.items))
    precious = widest.items[: len(widest.items) // 2]
    importance = dict.fromkeys(channels.droppable(), 1e-3) | dict.fromkeys(precious, 1e6)
    widths = plan_widths(sizes, int(0.85 * sizes.parameters), importance)
    starts = {group.keys: len(group.items) for group in sizes.groups}
    gone = next_drops(sizes, widths, starts, 1.0, importance)
    assert gone
    assert not set(gone) & set(precious)


def test_the_way_is_gone_in_steps(network: Network) -> None:
    prepared, input = network
    channels = follow_channels(prepared.body, input)
    sizes = Sizes(channels)
    importance = dict.fromkeys(channels.droppable(), 1.0)
    widths = plan_widths(sizes, int(1.2 * narrowest(sizes)), importance)
    starts = {group.keys: len(group.items) for group in sizes.groups}
    drops = [len(next_drops(sizes, widths, starts, way / 4, importance)) for way in (1, 2, 3, 4)]
    assert drops == sorted(drops)
    assert 0 < drops[0] < drops[-1]


def test_the_impossible_is_named(network: Network) -> None:
    prepared, input = network
    sizes = Sizes(follow_channels(prepared.body, input))
    least = narrowest(sizes)
    assert 0 < least < sizes.parameters
    with pytest.raises(UsageError, match=f"{least:,} in the narrowest form"):
        plan_widths(sizes, least - 1, {})
    assert plan_widths(sizes, least, {})
