from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from cake_onnx.errors import UsageError
from cake_onnx.graph.channels import (
    Goal,
    Sizes,
    follow_channels,
    narrow,
    narrowest,
    next_drops,
    plan_widths,
)
from cake_onnx.graph.prepare import Prepared
from cake_onnx.graph.specs import InputSpec
from tests.graph.channels.conftest import Prepare, Residual

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


@pytest.mark.parametrize("goal", ["operations", "parameters"])
@pytest.mark.parametrize("share", [0.7, 0.4, 0.15])
def test_convolutions_come_in_whole_blocks(network: Network, goal: Goal, share: float) -> None:
    prepared, input = network
    sizes = Sizes(follow_channels(prepared.body, input), goal, block=4)
    whole, least = sizes.size, narrowest(sizes)
    target = int(least + share * (whole - least))
    order = np.random.default_rng(0)
    importance = {item: float(order.random()) for group in sizes.groups for item in group.items}
    widths = plan_widths(sizes, target, importance)
    convolved = [group for group in sizes.groups if group.block == 4]
    assert convolved or not any(node.op_type == "Conv" for node in prepared.body.graph.node)
    assert any(widths[group.keys] < len(group.items) for group in sizes.groups)
    for group in convolved:
        width = widths[group.keys]
        assert width == len(group.items) or width % 4 == 0 or width < 4, (width, len(group.items))


def test_part_of_a_block_costs_a_whole_one(prepared: Prepare) -> None:
    body, input = prepared(Residual())
    channels = follow_channels(body.body, input)
    plain, sizes = Sizes(channels, "operations"), Sizes(channels, "operations", block=8)
    assert plain.carried_out == plain.operations == sizes.operations
    # 12 channels are computed as 16 where they are made and read, and one that is read alone costs two.
    (twelve,) = (group for group in sizes.groups if len(group.items) == 12)
    more = 64 * 9 * (8 * 4 + 4 * 8 + 8)
    assert sizes.carried_out == sizes.operations + more
    before = sizes.carried_out
    # Three of the four more than a block save no operation, only their parameters.
    assert sizes.saving(twelve.items[:3]) < 0.3 * plain.saving(twelve.items[:3])
    assert sizes.saving(twelve.items[:4]) > plain.saving(twelve.items[:4])
    sizes.drop(twelve.items[:3])
    assert sizes.carried_out == before
    sizes.drop(twelve.items[3:4])
    assert sizes.carried_out == before - 64 * 9 * 2 * 8 * 8
    sizes.drop(twelve.items[4:8])  # four are left: a whole block is made of them, and fewer are read
    assert before - 64 * 9 * (2 * 8 * 8 + 8 * 4) < sizes.carried_out < before - 64 * 9 * 2 * 8 * 8


def test_what_comes_back_completes_blocks(prepared: Prepare) -> None:
    """Of 20 channels 4 and 8 go; the 8 that went last do not fit, and 4 on top of 8 would be no block."""
    network = nn.Sequential(nn.Conv2d(1, 20, 3), nn.ReLU(), nn.Conv2d(20, 3, 6), nn.Flatten())
    body, input = prepared(network)
    sizes = Sizes(follow_channels(body.body, input), "operations", block=8)
    (twenty,) = sizes.groups
    sizes.drop(twenty.items[:4])
    target = sizes.size - 1
    sizes.take_back(twenty.items[:4])
    assert plan_widths(sizes, target, dict.fromkeys(twenty.items, 1.0)) == {twenty.keys: 8}


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
