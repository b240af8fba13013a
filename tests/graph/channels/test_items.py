from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cake_onnx.graph.channels.items import Items


def test_united_items_share_a_root() -> None:
    items = Items()
    first, second = items.new(3), items.new(3)
    items.unite_all(first, second)
    assert [items.find(a) for a in first] == [items.find(b) for b in second]
    assert items.find(int(first[0])) != items.find(int(first[1]))


def test_a_composed_item_goes_with_any_of_its_parts() -> None:
    items = Items()
    rows, columns = items.new(2), items.new(3)
    item = items.compose([int(rows[1]), int(columns[2])])
    assert items.is_kept(item, lambda root: False)
    assert not items.is_kept(item, lambda root: root == rows[1])
    assert not items.is_kept(item, lambda root: root == columns[2])
    assert items.is_kept(item, lambda root: root == columns[0])


def test_composed_items_unite_part_by_part() -> None:
    items = Items()
    a, b, c, d = (int(item) for item in items.new(4))
    items.unite(items.compose([a, b]), items.compose([c, d]))
    assert items.find(a) == items.find(c)
    assert items.find(b) == items.find(d)
    assert items.find(a) != items.find(b)


def test_composed_items_of_different_make_stay() -> None:
    items = Items()
    a, b, c, d, e = (int(item) for item in items.new(5))
    items.unite(items.compose([a, b]), items.compose([c, d, e]))
    assert all(items.is_frozen(item) for item in (a, b, c, d, e))


def test_an_item_cannot_be_a_part_of_itself() -> None:
    items = Items()
    a, b = (int(item) for item in items.new(2))
    items.unite(a, items.compose([a, b]))
    assert items.is_frozen(a)
    assert items.is_frozen(b)


def test_what_is_frozen_stays_frozen_through_unions() -> None:
    items = Items()
    a, b, c = (int(item) for item in items.new(3))
    items.freeze([a], "the scores")
    items.unite(a, b)
    items.unite(c, b)
    assert items.is_frozen(c)
    assert items.reason(c) == "the scores"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_unions_are_an_equivalence(pairs: list[tuple[int, int]]) -> None:
    items = Items()
    items.new(10)
    groups = {item: {item} for item in range(10)}
    for a, b in pairs:
        items.unite(a, b)
        merged = groups[a] | groups[b]
        for member in merged:
            groups[member] = merged
    for a in range(10):
        for b in range(10):
            assert (items.find(a) == items.find(b)) == (b in groups[a])


def test_labels_are_arrays_of_new_items() -> None:
    items = Items()
    np.testing.assert_array_equal(items.new(3), [0, 1, 2])
    np.testing.assert_array_equal(items.new(2), [3, 4])
